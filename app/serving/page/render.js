// The query, its neighbors and the choices, as elements of the page. Class and file names come from
// outside, so all text is set as text, never as HTML.

import { formatUrl, imageUrl, NO_PARTS } from "/page/url.js";

const QUERY_SIDE = 640;
const PART_SIDE = 96;
const TILE_SIDE = 384;

const byId = (id) => document.getElementById(id);

/** Show the query: an image of the catalog or a photo. */
export function renderQuery(query, state, photoName, choices) {
  showQuery(query.preview || query.image_id ? "image" : "words");
  renderParts(state);
  // An added image has no class, which could be wrong.
  renderCorrection(query.classes.length > 0 && choices.overrides);
  byId("query-words").textContent = describeWords(state);
  if (!query.preview && !query.image_id) return;
  const image = byId("query-image");
  image.src = query.preview ?? imageUrl(query.image_id, QUERY_SIDE);
  image.alt = query.image_id ? `query: ${describe(query)}` : `query: your photo ${photoName}`;
  image.classList.toggle("whole", state.crop === "none");
  byId("query-caption").replaceChildren(
    element("strong", {}, query.image_id ? describe(query) : photoName),
    element("small", {}, query.image_id ?? "your photo; its class is not known"));
}

/** Return what is looked for without a query image. */
function describeWords({ text, like }) {
  if (text) return `“${text}”`;
  return like.length > 1 ? `images like these ${like.length}` : "images like this one";
}

/** Show the images that the results are to be like, or not, each with a button to remove it. */
function renderParts({ like, unlike }) {
  const part = (kind, words) => (imageId) => {
    const remove = element("button", { type: "button", title: "remove" }, "✕");
    remove.setAttribute("aria-label", `remove: ${words} ${imageId}`);
    Object.assign(remove.dataset, { kind, remove: imageId });
    return element("li", { className: kind, title: `${words} ${imageId}` },
      element("img", { src: imageUrl(imageId, PART_SIDE), alt: "" }),
      element("span", {}, words), remove);
  };
  byId("parts").hidden = !like.length && !unlike.length;
  byId("parts").replaceChildren(
    ...like.map(part("like", "like")), ...unlike.map(part("unlike", "not like")));
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
  showQuery("");
  renderCorrection(false);
  byId("parts").hidden = true;
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
  byId("words").hidden = !choices.text.length;
  byId("model").replaceChildren(...options(choices.models));
  byId("model-field").hidden = choices.models.length < 2;
  byId("indexed").textContent = `${formatCount(choices.image_count, "image", "images")} · `
    + choices.models.join(", ");
}

/** Return a sentence about the neighbors that the models found. */
export function summarise(response, milliseconds, choices) {
  const silent = choices.models.filter(
    (name) => !response.models.some((each) => each.model === name));
  const only = silent.length ? `; not by ${silent.join(", ")}, for images alone` : "";
  const counts = response.models.filter(hasCount)
    .map((each) => `${each.model}: ${formatRelevant(each)}`);
  return `${counts.length ? `${counts.join(", ")}; ` : ""}searched in ${formatTime(milliseconds)}${only}`;
}

/** Show the query as an "image", as "words", or "" where there is none. */
function showQuery(kind) {
  byId("query-image").hidden = byId("query-caption").hidden = kind !== "image";
  byId("query-words").hidden = kind !== "words";
  byId("drop").hidden = kind !== "";
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
    ...each.neighbors.map((neighbor) => element("li", {},
      renderTile(neighbor, state), ...(choices.parts ? [renderFeedback(neighbor)] : []))));
  const section = element("section", { className: "column" },
    element("div", { className: "column-head" }, ...parts),
    each.neighbors.length ? tiles
      : element("p", { className: "nothing" }, "No image passes the filters."));
  section.setAttribute("aria-labelledby", heading);
  return section;
}

/** Return what training did to a model; of the baseline nothing where there was none. */
function noteOf(model, trained) {
  if (model === "baseline") return trained.length ? "before training" : "";
  return trained.includes(model) ? "after training" : "not trained";
}

/** Return the buttons that make a neighbor a part of the query. */
function renderFeedback(neighbor) {
  const button = (kind, sign, words) => {
    const created = element("button", { type: "button", title: words }, sign);
    created.setAttribute("aria-label", `${words}: ${describe(neighbor)}`);
    Object.assign(created.dataset, { kind, add: neighbor.image_id });
    return created;
  };
  return element("span", { className: "feedback" },
    button("like", "+", "more like this"), button("unlike", "−", "less like this"));
}

/** Return an image that was found, as a link that searches with it. */
export function renderTile(neighbor, state) {
  const verdict = { true: "relevant", false: "irrelevant" }[neighbor.relevant] ?? "";
  const classes = describe(neighbor);
  const score = neighbor.score.toFixed(3);
  const link = element("a", {
    className: `tile ${verdict}`,
    href: formatUrl({ ...state, ...NO_PARTS, image: neighbor.image_id }),
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

/** Return the classes of an image; of one without, the name of its file. */
export function describe(image) {
  return image.classes.join(", ") || image.image_id.split("/").pop();
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

/** Return a number with its noun: "1 image", "2,000 images". */
export function formatCount(number, one, many) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
}

function formatTime(milliseconds) {
  if (milliseconds >= 1000) return `${(milliseconds / 1000).toFixed(1)} s`;
  return `${milliseconds.toFixed(milliseconds < 10 ? 1 : 0)} ms`;
}

/** Return a new element. */
export function element(tag, properties, ...children) {
  const created = Object.assign(document.createElement(tag), properties);
  created.append(...children);
  return created;
}
