// Reacts to what a person does on the page: each step is a search, or one through the clusters.

import { fetchJson, override, searchByImage, searchByParts, searchByPhoto } from "/page/api.js";
import { renderClusters, renderView, summariseClusters } from "/page/clusters.js";
import { renderChoices, renderNeighbors, renderQuery, renderWelcome, summarise }
  from "/page/render.js";
import { clustersUrl, DEFAULTS, formatUrl, NO_PARTS, parseUrl, searchOptions }
  from "/page/url.js";

// Photos stay in the memory of this page, so that the Back button finds them; the oldest go first.
const MAX_PHOTOS = 20;

const byId = (id) => document.getElementById(id);
const photos = new Map();
let state = parseUrl(location.href);  // what is shown
let wanted = state;  // what the latest step asks for, shown once its search is done
let resolving = null;  // that step, where it does not know yet for which image
let lastSearch = DEFAULTS;  // where the link from the clusters leads
let isShown = false;
let choices = null;
let running = null;

/**
 * Search for a state, or for what it resolves to where it is a function, and show the result; of
 * two calls the later wins. `push` adds the step to the browser's history.
 *
 * Until then the filters show what is asked for, so that one that is changed meanwhile is added.
 */
async function go(target, { push }) {
  running?.abort();
  const controller = running = new AbortController();
  setBusy(true);
  resolving = typeof target === "function" ? target : null;
  try {
    const next = resolving ? await resolving(controller.signal) : target;
    if (controller !== running) return;
    want(next);
    byId("waiting").hidden = next.view !== "clusters";
    choices ??= await loadChoices();
    const started = performance.now();
    const response = await search(next, controller.signal);
    // Another run of the pipeline replaced the index since this page asked what there is.
    if (response && response.version !== choices.version) choices = await loadChoices();
    if (controller !== running) return;
    state = next;
    if (push && formatUrl(next) !== location.pathname + location.search) {
      history.pushState(null, "", formatUrl(next));
    }
    show(response, performance.now() - started);
    if (push) resetFocusAndScroll();
  } catch (error) {
    if (controller !== running || error.name === "AbortError") return;
    showError(error.message);
    if (!push) state = target;
    want(state);
    if (!push || !isShown) showNothing();
  } finally {
    if (controller === running) setBusy(false);
  }
}

function want(next) {
  wanted = next;
  resolving = null;
  fillFilters();
}

function search(next, signal) {
  if (next.view === "clusters") return fetchJson(clustersUrl(next), { signal });
  if (next.photo) {
    const photo = photos.get(next.photo);
    if (!photo) throw new Error("that photo is no longer in this page's memory; drop it again");
    return searchByPhoto(photo, searchOptions(next), choices, signal);
  }
  if (next.image) return searchByImage(next.image, searchOptions(next), signal);
  if ((next.without || next.unlike.length) && !next.text && !next.like.length) {
    throw new Error("say what you look for, too");
  }
  return next.text || next.like.length ? searchByParts(searchOptions(next), signal) : null;
}

async function loadChoices() {
  const loaded = await fetchJson("/api/choices");
  renderChoices(loaded);
  fillFilters();
  return loaded;
}

function show(response, milliseconds) {
  isShown = true;
  showError("");
  showView();
  if (state.view === "clusters") {
    showClusters(response);
    return;
  }
  if (!response) {
    byId("status").textContent = "";
    document.title = "lookalike";
    renderWelcome();
    return;
  }
  const photoName = photos.get(state.photo)?.name ?? "";
  renderQuery(response.query, state, photoName, choices);
  renderNeighbors(response, state, choices);
  byId("status").textContent = summarise(response, milliseconds, choices);
  const classes = response.query.classes.join(", ");
  document.title = `${classes || photoName || state.text || "images"} · lookalike`;
}

function showClusters(response) {
  choose("model", response.model);
  renderClusters(response, state);
  byId("status").textContent = summariseClusters(response);
  document.title = `${byId("title").textContent} · lookalike`;
}

function showView() {
  if (state.view !== "clusters") lastSearch = state;
  renderView(state, lastSearch);
}

/** Show only the error: the URL is of a search that failed, so older results would mislead. */
function showNothing() {
  byId("status").textContent = "";
  showView();
  if (state.view === "clusters") byId("columns").replaceChildren();
  else renderWelcome();
}

/** After a step, the focused tile may be gone, and the query may be out of sight. */
function resetFocusAndScroll() {
  if (document.activeElement === document.body) byId("results").focus({ preventScroll: true });
  window.scrollTo(0, 0);
}

function searchFile(files) {
  const photo = files[0];
  if (!photo) {
    showError("that is not a file; save the image first, then drop the file");
    return;
  }
  const key = randomKey();
  photos.set(key, photo);
  if (photos.size > MAX_PHOTOS) photos.delete(photos.keys().next().value);
  go({ ...wanted, ...NO_PARTS, photo: key }, { push: true });
}

/** Return a key that no other visit uses: a URL with it may be reloaded or shared. */
function randomKey() {
  return crypto.getRandomValues(new Uint32Array(2)).join("-");
}

function searchRandom() {
  const sample = async (signal) => {
    const sampled = await fetchJson("/api/random-query", { signal });
    return { ...wanted, ...NO_PARTS, image: sampled.image_id };
  };
  go(sample, { push: true });
}

function readFilters() {
  return {
    class: byId("class").value.trim(),
    group: byId("group").value,
    gallery: byId("gallery").checked ? "true" : "",
    crop: document.querySelector("input[name=crop]:checked").value,
    k: byId("k").value,
  };
}

function fillFilters() {
  for (const name of ["class", "group"]) byId(name).classList.toggle("set", wanted[name] !== "");
  byId("text").value = wanted.text;
  byId("without").value = wanted.without;
  byId("class").value = wanted.class;
  choose("group", wanted.group);
  choose("k", wanted.k);
  choose("clusters", wanted.clusters);
  if (wanted.model) choose("model", wanted.model);
  byId("gallery").checked = wanted.gallery === "true";
  document.querySelector(`input[name=crop][value=${wanted.crop === "none" ? "none" : "center"}]`)
    .checked = true;
  byId("clear").hidden = !wanted.class && !wanted.group && !wanted.gallery;
}

/** Choose a value that the list may lack: a URL can ask for any. */
function choose(name, value) {
  const list = byId(name);
  if (![...list.options].some((option) => option.value === value)) list.append(new Option(value));
  list.value = value;
}

function showError(line) {
  byId("error").textContent = line;
  byId("error").hidden = !line;
  if (line) window.scrollTo(0, 0);
}

function setBusy(busy) {
  byId("results").setAttribute("aria-busy", String(busy));
  byId("progress").hidden = !busy;
  if (!busy) byId("waiting").hidden = true;
}

function listenToFilters() {
  const searchIfChanged = () => {
    const filters = readFilters();
    const next = { ...wanted, ...filters };
    if (formatUrl(next) === formatUrl(wanted)) return;
    const step = resolving;
    const added = async (signal) => ({ ...await step(signal), ...filters });
    go(step ? added : next, { push: true });
  };
  byId("filters").addEventListener("change", searchIfChanged);
  byId("filters").addEventListener("submit", (event) => {
    event.preventDefault();
    searchIfChanged();
  });
  byId("clear").addEventListener("click", () => {
    go({ ...wanted, class: "", group: "", gallery: "" }, { push: true });
    byId("class").focus();
  });
}

/** Add an image to the query, or move it to the other side; a second click takes it out. */
function toggle(kind, imageId) {
  const other = kind === "like" ? "unlike" : "like";
  const rest = wanted[kind].filter((each) => each !== imageId);
  const added = rest.length === wanted[kind].length ? [...rest, imageId] : rest;
  const parts = { [kind]: added, [other]: wanted[other].filter((each) => each !== imageId) };
  go({ ...wanted, ...parts }, { push: true });
}

function listenToParts() {
  const searchWords = () => {
    const words = { text: byId("text").value.trim(), without: byId("without").value.trim() };
    const next = { ...wanted, ...words };
    if (formatUrl(next) !== formatUrl(wanted)) go(next, { push: true });
  };
  byId("words").addEventListener("change", searchWords);
  byId("words").addEventListener("submit", (event) => {
    event.preventDefault();
    searchWords();
  });
  byId("columns").addEventListener("click", (event) => {
    const button = event.target.closest("button[data-add]");
    if (button) toggle(button.dataset.kind, button.dataset.add);
  });
  byId("parts").addEventListener("click", (event) => {
    const button = event.target.closest("button[data-remove]");
    if (button) toggle(button.dataset.kind, button.dataset.remove);
  });
}

function listenToPhotos() {
  byId("choose").addEventListener("click", () => byId("file").click());
  byId("random").addEventListener("click", searchRandom);
  byId("file").addEventListener("change", (event) => {
    if (event.target.files.length) searchFile([...event.target.files]);
    event.target.value = "";  // so that the same file can be chosen again
  });
  document.addEventListener("paste", (event) => {
    if (event.clipboardData.files.length) {
      event.preventDefault();
      searchFile(event.clipboardData.files);
    }
  });
  // Moving from one element into another inside it fires both events; at 0 the pointer has left.
  let depth = 0;
  const setDepth = (value) => {
    depth = Math.max(0, value);
    byId("dropping").hidden = depth === 0;
  };
  document.addEventListener("dragenter", () => setDepth(depth + 1));
  document.addEventListener("dragleave", () => setDepth(depth - 1));
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    setDepth(0);
    searchFile(event.dataTransfer.files);
  });
}

/** Write a correction of the query, and say so where the person looks. */
async function correct(action, label) {
  const { image } = state;
  showError("");
  byId("wrong-status").textContent = "";
  try {
    await override(image, action, label);
  } catch (error) {
    showError(error.message);
    return;
  }
  if (state.image !== image) return;
  byId("relabel-form").hidden = true;
  byId("wrong-status").textContent = "written to overrides.csv; dvc repro applies it";
}

function listenToCorrections() {
  byId("leave-out").addEventListener("click", () => correct("drop", ""));
  byId("relabel").addEventListener("click", () => {
    byId("relabel-form").hidden = false;
    byId("right-class").focus();
  });
  byId("relabel-form").addEventListener("submit", (event) => {
    event.preventDefault();
    correct("relabel", byId("right-class").value.trim());
  });
}

function listenToGrouping() {
  byId("grouping").addEventListener("change", () => {
    const [model, clusters] = [byId("model").value, byId("clusters").value];
    go({ ...wanted, model, clusters }, { push: true });
  });
  byId("grouping").addEventListener("submit", (event) => event.preventDefault());
}

function listenToLinks() {
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-image], a[data-step]");
    // The browser opens new tabs and windows.
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    event.preventDefault();
    const { image } = parseUrl(link.href);
    const isStep = "step" in link.dataset;
    go(isStep ? parseUrl(link.href) : { ...wanted, ...NO_PARTS, image }, { push: true });
  });
  window.addEventListener("popstate", () => go(parseUrl(location.href), { push: false }));
}

// On a phone, open options would push the results far down.
byId("options").open = !matchMedia("(max-width: 820px)").matches;
listenToFilters();
listenToParts();
listenToPhotos();
listenToCorrections();
listenToGrouping();
listenToLinks();
showView();
go(parseUrl(location.href), { push: false });
