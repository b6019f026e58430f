// The query, its neighbors and the choices, as elements of the page. Class and file names come from
// outside, so all text is set as text, never as HTML.

import { formatUrl, imageUrl } from "/page/url.js";

const QUERY_SIDE = 640;
const TILE_SIDE = 384;

const byId = (id) => document.getElementById(id);

/** Show the query: an image of the catalog or a photo. */
export function renderQuery(query, state, photoName, choices) {
  const image = byId("query-image");
  image.src = query.preview ?? imageUrl(query.image_id, QUERY_SIDE);
  image.alt = query.image_id ? `query: ${describe(query)}` : `query: your photo ${photoName}`;
  image.classList.toggle("whole", state.crop === "none");
  byId("query-caption").replaceChildren(
    element("strong", {}, query.image_id ? describe(query) : photoName),
    element("small", {}, query.image_id ?? "your photo; its class is not known"));
  showQuery(true);
  // An added image has no class, which could be wrong.
  renderCorrection(query.classes.length > 0 && choices.overrides);
}

/** Show what corrects the query, closed and empty, or hide it. */
function renderCorrection(shown) {
  const wrong = byId("wrong");
  wrong.hidden = !shown;
  wrong.open = false;
  byId("relabel-form").hidden = true;
  byId("right-class").value = byId("wrong-status").textContent = "";
}

/** Show the page as it is before the first search. */
export function renderWelcome() {
  showQuery(false);
  renderCorrection(false);
  byId("columns").replaceChildren(element("div", { className: "welcome" },
    element("h2", {}, "Which images look like this one?"),
    element("p", {}, "Drop a photo anywhere on this page, paste one, or take a random query "
      + "of the test split. Each model shows the nearest images that it finds; click one to "
      + "search with it.")));
}

/** Show the neighbors that each model found, side by side. */
export function renderNeighbors(response, state, choices) {
  byId("columns").replaceChildren(
    ...response.models.map((each) => renderColumn(each, state, choices)));
}

/** Fill the lists of classes and groups, and the line about what is indexed. */
export function renderChoices(choices) {
  const options = (names) => names.map((name) => element("option", { value: name }, name));
  byId("classes").replaceChildren(
    ...choices.classes.map((name) => element("option", { value: name })));
  byId("class").placeholder = `all ${formatCount(choices.classes.length, "class", "classes")}`;
  byId("group").replaceChildren(byId("group").options[0], ...options(choices.groups));
  byId("group").options[0].textContent =
    `all ${formatCount(choices.groups.length, "group", "groups")}`;
  byId("group-field").hidden = !choices.groups.length;
  byId("indexed").textContent = `${formatCount(choices.image_count, "image", "images")} · `
    + choices.models.join(", ");
}

/** Return a sentence about the neighbors that the models found. */
export function summarise(response, milliseconds) {
  const counts = response.models.filter(hasCount)
    .map((each) => `${each.model}: ${formatRelevant(each)}`);
  return `${counts.length ? `${counts.join(", ")}; ` : ""}searched in ${formatTime(milliseconds)}`;
}

function showQuery(shown) {
  byId("query-image").hidden = byId("query-caption").hidden = !shown;
  byId("drop").hidden = shown;
}

function renderColumn(each, state, choices) {
  const heading = `model-${each.model}`;
  const parts = [
    element("h2", { id: heading }, each.model),
    element("p", { title: "time to embed the query and to search" },
      [noteOf(each.model, choices.trained), formatTime(each.embed_ms + each.search_ms)]
        .filter(Boolean).join(" · ")),
  ];
  if (hasCount(each)) {
    parts.push(element("p", { className: "relevant-count" }, formatRelevant(each)));
  }
  if (each.model === choices.best?.model) {
    const { because } = choices.best;
    parts.push(element("p", { className: "default", title: because },
      `default: ${because.split(":")[0]}`));
  }
  if (each.postprocessing) {
    parts.push(element("p", { className: "postprocessing" }, each.postprocessing));
  }
  if (each.match === false) {
    parts.push(element("p", { className: "no-match" },
      "Perhaps not in the catalog: nothing is similar enough."));
  }
  const tiles = element("ol", { className: "tiles" },
    ...each.neighbors.map((neighbor) => element("li", {}, renderTile(neighbor, state))));
  const section = element("section", { className: "column" },
    element("div", { className: "column-head" }, ...parts),
    each.neighbors.length ? tiles
      : element("p", { className: "nothing" }, "No image passes the filters."));
  section.setAttribute("aria-labelledby", heading);
  return section;
}

/** Return what training did to a model; nothing where there was none to be before of. */
function noteOf(model, trained) {
  if (model === "finetuned") return trained ? "after training" : "not trained";
  return model === "baseline" && trained ? "before training" : "";
}

function renderTile(neighbor, state) {
  const verdict = { true: "relevant", false: "irrelevant" }[neighbor.relevant] ?? "";
  const classes = neighbor.classes.join(", ") || neighbor.image_id.split("/").pop();
  const score = neighbor.score.toFixed(3);
  const link = element("a", {
    className: `tile ${verdict}`,
    href: formatUrl({ ...state, image: neighbor.image_id, photo: "" }),
    title: `${classes}\n${neighbor.image_id}\nscore ${score}; click to search with it`,
  });
  link.dataset.image = neighbor.image_id;
  link.append(
    element("img", {
      src: imageUrl(neighbor.image_id, TILE_SIDE),
      alt: "",
      width: TILE_SIDE,
      height: TILE_SIDE,
      draggable: false,
    }),
    element("span", { className: "hidden" }, `${neighbor.rank}. `),
    element("span", { className: "caption" },
      element("span", { className: "classes" }, classes),
      element("span", { className: "score" },
        element("span", { className: "hidden" }, ", score "), score)));
  if (neighbor.trained_on) {
    const mark = element("span", { className: "trained-on" }, "trained on");
    link.append(mark);
  }
  if (verdict) {
    const mark = element("span", { className: "mark" }, neighbor.relevant ? "✓" : "✗");
    mark.setAttribute("aria-hidden", "true");
    link.append(mark, element("span", { className: "hidden" }, `, ${verdict}`));
  }
  return link;
}

function describe(image) {
  return image.classes.join(", ") || image.image_id;
}

function hasCount(each) {
  return each.relevant_count !== null && each.neighbors.length > 0;
}

function formatRelevant(each) {
  const known = each.neighbors.filter((neighbor) => neighbor.relevant !== null).length;
  const others = each.neighbors.length - known;
  const text = `${each.relevant_count} of ${known} relevant`;
  return others ? `${text}, ${others} without a label` : text;
}

function formatCount(number, one, many) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
}

function formatTime(milliseconds) {
  if (milliseconds >= 1000) return `${(milliseconds / 1000).toFixed(1)} s`;
  return `${milliseconds.toFixed(milliseconds < 10 ? 1 : 0)} ms`;
}

function element(tag, properties, ...children) {
  const created = Object.assign(document.createElement(tag), properties);
  created.append(...children);
  return created;
}
