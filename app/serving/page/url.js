// The state of a search and the page's URL. Each can be made from the other, so that the Back
// button works and a link can be shared.

export const DEFAULTS = {
  image: "", photo: "", text: "", without: "", like: [], unlike: [],
  class: "", group: "", gallery: "", crop: "center", k: "12",
  view: "", model: "", clusters: "", cluster: "", offset: "",
};

/** What the search has none of: where in the clusters one is. */
const NO_CLUSTERS = { view: "", model: "", clusters: "", cluster: "", offset: "" };

/** What a new query begins without: the parts of the one before, and the clusters it was in. */
export const NO_PARTS = {
  image: "", photo: "", text: "", without: "", like: [], unlike: [], ...NO_CLUSTERS,
};

/** Return the state in a URL; what the URL leaves out is as in DEFAULTS. */
export function parseUrl(url) {
  const params = new URLSearchParams(new URL(url, location.href).search);
  return Object.fromEntries(
    Object.entries(DEFAULTS).map(([name, value]) => [
      name, Array.isArray(value) ? params.getAll(name) : params.get(name) ?? value]));
}

/** Return the path and query string of a state. */
export function formatUrl(state) {
  const params = changedParams(state);
  return params.size ? `/?${params}` : "/";
}

/** Return the options of a search in the JSON API. */
export function searchOptions(state) {
  const params = changedParams({ ...state, ...NO_CLUSTERS });
  params.delete("image");
  params.delete("photo");
  return params;
}

/** Return the URL in the JSON API of all clusters, or of a page of one. */
export function clustersUrl({ model, clusters, cluster, offset }) {
  const named = Object.entries({ model, k: clusters, offset: cluster && offset });
  const params = new URLSearchParams(named.filter(([, value]) => value));
  const path = cluster ? `/api/clusters/${encodeURIComponent(cluster)}` : "/api/clusters";
  return params.size ? `${path}?${params}` : path;
}

/** Return the URL of an image of the catalog, at most `maxSide` pixels wide and high. */
export function imageUrl(imageId, maxSide) {
  return `/api/images/${encodeURIComponent(imageId)}?max_side=${maxSide}`;
}

function changedParams(state) {
  return new URLSearchParams(Object.entries(state).flatMap(([name, value]) => {
    if (Array.isArray(value)) return value.map((each) => [name, each]);
    return value && value !== DEFAULTS[name] ? [[name, value]] : [];
  }));
}
