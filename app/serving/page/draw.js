// What was found, as elements. Text is only ever set as text: names come from the dataset.

import { imageAddress, writeAddress } from "/page/address.js";

const QUERY_SIDE = 640;
const TILE_SIDE = 384;
const ABOUT = { baseline: "before training", finetuned: "after training" };

const byId = (id) => document.getElementById(id);

/** Show what was asked by: an image of the dataset or an own photo. */
export function drawQuery(query, state, photoName) {
  const image = byId("query-image");
  image.src = query.preview ?? imageAddress(query.image_id, QUERY_SIDE);
  image.alt = query.image_id ? `query: ${describe(query)}` : `query: your photo ${photoName}`;
  image.classList.toggle("whole", state.crop === "none");
  const caption = byId("query-caption");
  const title = query.image_id ? describe(query) : photoName;
  caption.replaceChildren(
    element("strong", {}, title),
    element("small", {}, query.image_id ?? "your photo; what is right is not known"));
  show({ query: true });
}

/** Show that nothing was asked yet. */
export function drawWelcome() {
  show({ query: false });
  byId("columns").replaceChildren(element("div", { className: "welcome" },
    element("h2", {}, "Which images look like this one?"),
    element("p", {}, "Drop a photo anywhere on this page, paste one, or take a random test "
      + "image. Each model shows the nearest images it finds; click one to search from it.")));
}

/** Show each model's results side by side. */
export function drawResults(found, state) {
  byId("columns").replaceChildren(...found.models.map((each) => drawColumn(each, state)));
}

/** Fill the lists of classes and groups, and the line about the dataset. */
export function drawChoices(choices) {
  const options = (names) => names.map((name) => element("option", { value: name }, name));
  byId("classes").replaceChildren(
    ...choices.classes.map((name) => element("option", { value: name })));
  byId("class").placeholder = `all ${count(choices.classes.length, "class", "classes")}`;
  byId("group").append(...options(choices.groups));
  byId("group").options[0].textContent = `all ${count(choices.groups.length, "group", "groups")}`;
  byId("group-field").hidden = !choices.groups.length;
  byId("dataset").textContent = `${count(choices.images, "image", "images")} searched by `
    + choices.models.join(" and ");
}

/** Return the sentence that says how the models did. */
export function summarise(found, milliseconds) {
  const tallies = found.models
    .filter((each) => each.right !== null)
    .map((each) => `${each.model} ${each.right} of ${each.results.length} right`);
  return `${tallies.length ? `${tallies.join(", ")}; ` : ""}found in ${time(milliseconds)}`;
}

function show({ query }) {
  byId("query-image").hidden = byId("query-caption").hidden = !query;
  byId("drop").hidden = query;
}

function drawColumn(each, state) {
  const heading = `model-${each.model}`;
  const parts = [
    element("h2", { id: heading }, each.model),
    element("p", { title: "to embed the query and to search" },
      [ABOUT[each.model], time(each.embed_ms + each.search_ms)].filter(Boolean).join(" · ")),
  ];
  if (each.right !== null) {
    parts.push(element("p", { className: "tally" }, `${each.right} of ${each.results.length} right`));
  }
  const tiles = element("ol", { className: "tiles" },
    ...each.results.map((result) => element("li", {}, drawTile(result, state))));
  const section = element("section", { className: "column" },
    element("div", { className: "column-head" }, ...parts),
    each.results.length ? tiles : element("p", { className: "nothing" }, "No image to be found."));
  section.setAttribute("aria-labelledby", heading);
  return section;
}

function drawTile(result, state) {
  const verdict = { true: "right", false: "wrong" }[result.right] ?? "";
  const names = describe(result);
  const score = result.score.toFixed(3);
  const link = element("a", {
    className: `tile ${verdict}`,
    href: writeAddress({ ...state, image: result.image_id, photo: "" }),
    title: `${names}\n${result.image_id}\nscore ${score}: search from it`,
  });
  link.dataset.image = result.image_id;
  link.append(element("img", {
    src: imageAddress(result.image_id, TILE_SIDE),
    alt: "",
    width: TILE_SIDE,
    height: TILE_SIDE,
    draggable: false,
  }));
  link.append(element("span", { className: "hidden" }, `${result.rank}. `));
  link.append(element("span", { className: "caption" },
    element("span", { className: "names" }, names),
    element("span", { className: "score" }, element("span", { className: "hidden" }, ", score "),
      score)));
  if (verdict) {
    const mark = element("span", { className: "mark" }, verdict === "right" ? "✓" : "✗");
    mark.setAttribute("aria-hidden", "true");
    link.append(mark, element("span", { className: "hidden" }, `, ${verdict}`));
  }
  return link;
}

function describe(image) {
  return image.names.join(", ") || image.image_id;
}

function count(number, one, many) {
  return `${number.toLocaleString("en")} ${number === 1 ? one : many}`;
}

function time(milliseconds) {
  if (milliseconds >= 1000) return `${(milliseconds / 1000).toFixed(1)} s`;
  return `${milliseconds.toFixed(milliseconds < 10 ? 1 : 0)} ms`;
}

function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}
