// Requests to the server. Each that fails throws an Error with the one line to show.

/** Return the JSON that the server answers with. */
export async function ask(address, options = {}) {
  let response;
  try {
    response = await fetch(address, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("the server does not answer; is `lookalike serve` still running?");
  }
  const answer = await response.json().catch(() => null);
  if (!response.ok || answer === null) {
    throw new Error(answer?.error ?? `the server failed (status ${response.status})`);
  }
  return answer;
}

/** Return what is found by an own photo, a File. */
export async function searchByPhoto(photo, options, limits, signal) {
  // The server says the same; here it saves the time of sending.
  if (photo.size > limits.most_bytes) {
    const most = limits.most_bytes / 2 ** 20;
    throw new Error(`${photo.name}: found ${(photo.size / 2 ** 20).toFixed(0)} MiB; `
      + `allowed: up to ${most} MiB; make the image smaller`);
  }
  options.set("name", (photo.name || "photo").slice(-255));
  options.set("preview", "true");
  const body = await photo.arrayBuffer().catch(() => {
    throw new Error(`${photo.name}: cannot be read; is it a folder?`);
  });
  const headers = { "content-type": photo.type || "application/octet-stream" };
  return ask(`/api/search?${options}`, { method: "POST", body, headers, signal });
}

/** Return what is found by an image of the dataset. */
export function searchByImage(id, options, signal) {
  return ask(`/api/search/${encodeURIComponent(id)}?${options}`, { signal });
}
