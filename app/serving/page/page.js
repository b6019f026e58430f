// The page: what a person does, one search after another.

import { DEFAULTS, readAddress, searchOptions, writeAddress } from "/page/address.js";
import { ask, searchByPhoto, searchByImage } from "/page/ask.js";
import { drawChoices, drawQuery, drawResults, drawWelcome, summarise } from "/page/draw.js";

// Own photos stay in this page's memory, so that Back finds them again; the oldest go first.
const MOST_PHOTOS = 20;

const byId = (id) => document.getElementById(id);
const photos = new Map();
let state = { ...DEFAULTS };
let choices = null;
let running = null;

/**
 * Search for what `asked` says, or what it resolves to where it is a function; of two calls the
 * later wins. A person's own step (`push`) becomes one of the history.
 */
async function go(asked, { push }) {
  running?.abort();
  const mine = running = new AbortController();
  setBusy(true);
  try {
    choices ??= await loadChoices();
    const wanted = typeof asked === "function" ? await asked(mine.signal) : asked;
    const began = performance.now();
    const found = await search(wanted, mine.signal);
    if (mine !== running) return;
    state = wanted;
    if (push && writeAddress(wanted) !== location.pathname + location.search) {
      history.pushState(null, "", writeAddress(wanted));
    }
    fillFilters();
    draw(found, performance.now() - began);
    if (push) settle();
  } catch (error) {
    if (mine !== running || error.name === "AbortError") return;
    fail(error.message);
    if (push) fillFilters();
    else leave(asked);
  } finally {
    if (mine === running) setBusy(false);
  }
}

function search(wanted, signal) {
  if (wanted.photo) {
    const photo = photos.get(wanted.photo);
    if (!photo) throw new Error("that photo is no longer in this page's memory; drop it again");
    return searchByPhoto(photo, searchOptions(wanted), choices, signal);
  }
  return wanted.image ? searchByImage(wanted.image, searchOptions(wanted), signal) : null;
}

async function loadChoices() {
  const loaded = await ask("/api/choices");
  drawChoices(loaded);
  return loaded;
}

function draw(found, milliseconds) {
  fail("");
  if (!found) {
    byId("status").textContent = "";
    document.title = "lookalike";
    drawWelcome();
    return;
  }
  const photoName = photos.get(state.photo)?.name ?? "";
  drawQuery(found.query, state, photoName);
  drawResults(found, state);
  byId("status").textContent = summarise(found, milliseconds);
  document.title = `${found.query.names.join(", ") || photoName || "photo"} · lookalike`;
}

/** Show nothing but the line of what failed: the address asks for what cannot be shown. */
function leave(wanted) {
  state = wanted;
  fillFilters();
  byId("status").textContent = "";
  drawWelcome();
}

/** After a step the old focus may be gone with its tile, and the query may be out of sight. */
function settle() {
  if (document.activeElement === document.body) byId("results").focus({ preventScroll: true });
  window.scrollTo(0, 0);
}

function searchFile(files) {
  const photo = files[0];
  if (!photo) {
    fail("that is no file; save the image first, then drop the file");
    return;
  }
  const key = drawKey();
  photos.set(key, photo);
  if (photos.size > MOST_PHOTOS) photos.delete(photos.keys().next().value);
  go({ ...state, image: "", photo: key }, { push: true });
}

/** Return a key that no other visit gives, as its address may be reloaded or passed on. */
function drawKey() {
  return crypto.getRandomValues(new Uint32Array(2)).join("-");
}

function searchRandom() {
  const drawImage = async (signal) => {
    const drawn = await ask("/api/random", { signal });
    return { ...state, image: drawn.image_id, photo: "" };
  };
  go(drawImage, { push: true });
}

function readFilters() {
  return {
    class: byId("class").value.trim(),
    group: byId("group").value,
    crop: document.querySelector("input[name=crop]:checked").value,
    k: byId("k").value,
  };
}

function fillFilters() {
  for (const name of ["class", "group"]) {
    byId(name).value = state[name];
    byId(name).classList.toggle("set", state[name] !== "");
  }
  document.querySelector(`input[name=crop][value=${state.crop === "none" ? "none" : "center"}]`)
    .checked = true;
  if (![...byId("k").options].some((option) => option.value === state.k)) {
    byId("k").append(new Option(state.k));
  }
  byId("k").value = state.k;
  byId("clear").hidden = !state.class && !state.group;
}

function fail(line) {
  byId("error").textContent = line;
  byId("error").hidden = !line;
  if (line) window.scrollTo(0, 0);
}

function setBusy(busy) {
  byId("results").setAttribute("aria-busy", String(busy));
  byId("progress").hidden = !busy;
}

function listenToFilters() {
  const search = () => {
    const wanted = { ...state, ...readFilters() };
    if (writeAddress(wanted) !== writeAddress(state)) go(wanted, { push: true });
  };
  byId("filters").addEventListener("change", search);
  byId("filters").addEventListener("submit", (event) => {
    event.preventDefault();
    search();
  });
  byId("clear").addEventListener("click", () => {
    go({ ...state, class: "", group: "" }, { push: true });
    byId("class").focus();
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
  // Leaving one element for another inside it is an event too; only the last leaves the page.
  let inside = 0;
  const dropping = (change) => {
    inside = Math.max(0, inside + change);
    byId("dropping").hidden = inside === 0;
  };
  document.addEventListener("dragenter", () => dropping(1));
  document.addEventListener("dragleave", () => dropping(-1));
  document.addEventListener("dragover", (event) => event.preventDefault());
  document.addEventListener("drop", (event) => {
    event.preventDefault();
    dropping(-inside);
    searchFile(event.dataTransfer.files);
  });
}

function listenToLinks() {
  byId("columns").addEventListener("click", (event) => {
    const link = event.target.closest("a[data-image]");
    // A new tab or window is the browser's to open.
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    event.preventDefault();
    go(readAddress(link.href), { push: true });
  });
  window.addEventListener("popstate", () => go(readAddress(location.href), { push: false }));
}

// On a phone they would stand between the query and what was found.
byId("options").open = !matchMedia("(max-width: 820px)").matches;
listenToFilters();
listenToPhotos();
listenToLinks();
go(readAddress(location.href), { push: false });
