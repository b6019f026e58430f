// Requests to the JSON API. One that fails throws an Error whose message is shown on the page.

/** Return the JSON of a response. */
export async function fetchJson(url, options = {}) {
  let response;
  try {
    response = await fetch(url, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("the server does not answer; is `lookalike serve` still running?");
  }
  const body = await response.json().catch(() => null);
  if (!response.ok || body === null) {
    throw new Error(body?.error ?? `the server failed (status ${response.status})`);
  }
  return body;
}

/** Return the neighbors of a photo, a File. */
export async function searchByPhoto(photo, options, limits, signal) {
  // The server checks it too; here it saves the time of the upload.
  if (photo.size > limits.max_bytes) {
    throw new Error(`${photo.name}: found ${(photo.size / 2 ** 20).toFixed(0)} MiB; `
      + `allowed: at most ${limits.max_bytes / 2 ** 20} MiB; make the image smaller`);
  }
  options.set("name", (photo.name || "photo").slice(-255));
  options.set("preview", "true");
  const body = await photo.arrayBuffer().catch(() => {
    throw new Error(`${photo.name}: cannot be read; is it a folder?`);
  });
  const headers = { "content-type": photo.type || "application/octet-stream" };
  return fetchJson(`/api/search?${options}`, { method: "POST", body, headers, signal });
}

/** Add a correction of an image to overrides.csv; return what was written. */
export function override(imageId, action, label) {
  const headers = { "content-type": "application/json" };
  const body = JSON.stringify({ image_id: imageId, action, label });
  return fetchJson("/api/overrides", { method: "POST", headers, body });
}

/** Return the neighbors of an image of the catalog. */
export function searchByImage(imageId, options, signal) {
  return fetchJson(`/api/search/${encodeURIComponent(imageId)}?${options}`, { signal });
}

/** Return the neighbors of words, images of the catalog, or both: all in the options. */
export function searchByParts(options, signal) {
  return fetchJson(`/api/search?${options}`, { signal });
}
