// What is searched for, and the page's address that says so: each can be made from the other, so
// that Back works and a link can be passed on.

export const DEFAULTS = { image: "", photo: "", class: "", group: "", crop: "center", k: "12" };

/** Return what the address asks for; what it does not say is as in DEFAULTS. */
export function readAddress(address) {
  const said = new URLSearchParams(new URL(address, location.href).search);
  return Object.fromEntries(
    Object.entries(DEFAULTS).map(([name, value]) => [name, said.get(name) ?? value]));
}

/** Return the address, from the root on, that asks for `state`. */
export function writeAddress(state) {
  const options = changed(state);
  return options.size ? `/?${options}` : "/";
}

/** Return the server's options of a search. */
export function searchOptions(state) {
  const options = changed(state);
  options.delete("image");
  options.delete("photo");
  return options;
}

/** Return where an image of the dataset is, at most `side` pixels wide and high. */
export function imageAddress(id, side) {
  return `/api/images/${encodeURIComponent(id)}?side=${side}`;
}

function changed(state) {
  return new URLSearchParams(
    Object.entries(state).filter(([name, value]) => value && value !== DEFAULTS[name]));
}
