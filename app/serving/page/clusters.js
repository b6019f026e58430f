// The clusters of the catalog, as cards, and one of them with its images. Class and file names come
// from outside, so all text is set as text, never as HTML.

import { describe, element, formatCount, renderTile } from "/page/render.js";
import { DEFAULTS, formatUrl, imageUrl } from "/page/url.js";

const CARD_SIDE = 192;

const byId = (id) => document.getElementById(id);

/** Show what belongs to the view of a state: the clusters, one of them, or the search. */
export function renderView(state, lastSearch) {
  const isClusters = state.view === "clusters";
  document.body.classList.toggle("walking", isClusters);
  byId("query-side").hidden = isClusters;
  byId("grouping").hidden = !isClusters || state.cluster !== "";
  byId("title").classList.toggle("hidden", !isClusters);
  byId("title").textContent = !isClusters ? "Search with an image"
    : state.cluster ? `Cluster ${state.cluster}` : "Clusters";
  byId("to-search").href = formatUrl(lastSearch);
  for (const [id, isHere] of [["to-search", !isClusters], ["to-clusters", isClusters]]) {
    if (isHere) byId(id).setAttribute("aria-current", "page");
    else byId(id).removeAttribute("aria-current");
  }
}

/** Show all clusters, the largest first, or the images of one. */
export function renderClusters(response, state) {
  byId("columns").replaceChildren(
    ...("clusters" in response ? renderCards(response, state) : renderWalk(response, state)));
}

/** Return a sentence about the clusters, or about the images of one that are shown. */
export function summariseClusters(response) {
  if ("clusters" in response) {
    const { clusters, image_count: count, model } = response;
    return `${formatCount(count, "image", "images")} in `
      + `${formatCount(clusters.length, "cluster", "clusters")} of what ${model} finds similar`;
  }
  const { image_count: count } = response.cluster;
  return `${formatCount(count, "image", "images")} that ${response.model} finds similar, `
    + "the nearest to the centre first";
}

function renderCards({ clusters }, state) {
  return [element("ol", { className: "clusters" },
    ...clusters.map((each) => element("li", {}, renderCard(each, state))))];
}

function renderCard(cluster, state) {
  const url = formatUrl({ ...state, cluster: String(cluster.number), offset: "" });
  const link = renderStep(`Cluster ${cluster.number}`, url);
  // It covers the card, where names may be cut.
  link.title = cluster.classes.map(({ name, share }) => `${name} ${formatShare(share)}`).join("\n");
  return element("article", { className: "cluster" },
    element("div", { className: "mosaic" }, ...cluster.images.map(renderPiece)),
    element("div", { className: "cluster-head" },
      element("h2", {}, link),
      element("p", {}, formatCount(cluster.image_count, "image", "images"))),
    ...renderShares(cluster.classes));
}

function renderPiece(image) {
  return element("img", {
    src: imageUrl(image.image_id, CARD_SIDE),
    alt: describe(image),
    width: CARD_SIDE,
    height: CARD_SIDE,
    loading: "lazy",
    draggable: false,
  });
}

/** Return a list of the most frequent classes, each with a bar as long as its share. */
function renderShares(classes) {
  if (!classes.length) return [];
  return [element("ul", { className: "shares" }, ...classes.map(({ name, share }) => {
    const item = element("li", { title: name },
      element("span", { className: "name" }, name),
      element("span", { className: "share" }, formatShare(share)));
    item.style.setProperty("--share", share);
    return item;
  }))];
}

/** Return a percentage that is 0 or 100 only where the share is. */
function formatShare(share) {
  if (share > 0 && share < 0.01) return "<1%";
  return `${share < 1 ? Math.min(99, Math.round(100 * share)) : 100}%`;
}

function renderWalk({ cluster, offset, page_size: size }, state) {
  const back = renderStep("← All clusters", formatUrl({ ...state, cluster: "", offset: "" }));
  const section = element("section", { className: "column" },
    element("div", { className: "column-head" }, back, ...renderShares(cluster.classes)),
    cluster.images.length
      ? element("ol", { className: "tiles", start: offset + 1 },
        ...cluster.images.map((each) => element("li", {}, renderTile(each, DEFAULTS))))
      : element("p", { className: "nothing" }, "No image is so far from the centre."));
  section.setAttribute("aria-labelledby", "title");
  return cluster.image_count > size || offset
    ? [section, renderPager(cluster, offset, size, state)] : [section];
}

/** Return the links to the pages before and after the one that is shown. */
function renderPager(cluster, offset, size, state) {
  const step = (text, to) =>
    renderStep(text, formatUrl({ ...state, offset: to ? String(to) : "" }));
  const last = offset + cluster.images.length;
  const here = cluster.images.length ? `${(offset + 1).toLocaleString("en")}–`
    + `${last.toLocaleString("en")} of ${cluster.image_count.toLocaleString("en")}` : "";
  const pager = element("nav", { className: "pager" },
    offset ? step("← Nearer", Math.max(0, offset - size)) : element("span", {}),
    element("span", {}, here),
    last < cluster.image_count && cluster.images.length
      ? step("Farther →", offset + size) : element("span", {}));
  pager.setAttribute("aria-label", "Pages of the cluster");
  return pager;
}

function renderStep(text, url) {
  const link = element("a", { href: url, className: "step" }, text);
  link.dataset.step = "";
  return link;
}
