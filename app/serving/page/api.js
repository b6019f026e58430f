// /openapi.json as a page to read.

const byId = (id) => document.getElementById(id);

function element(tag, properties, ...children) {
  const made = Object.assign(document.createElement(tag), properties);
  made.append(...children);
  return made;
}

function plain(text) {
  return (text ?? "").replaceAll("`", "");
}

function nameType(schema) {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.anyOf) return schema.anyOf.map(nameType).join(" or ");
  if (schema.enum) return schema.enum.join(" | ");
  if (schema.type === "array") return `list of ${nameType(schema.items)}`;
  const range = [schema.minimum, schema.maximum].filter((bound) => bound !== undefined);
  return range.length === 2 ? `${schema.type} ${range.join("–")}` : schema.type ?? "";
}

function drawTable(rows) {
  return element("table", {}, element("tbody", {}, ...rows.map(([name, type, about]) =>
    element("tr", {}, element("td", {}, element("code", {}, name)), element("td", {}, type),
      element("td", {}, about)))));
}

function drawRequest(path, method, request) {
  const answer = request.responses["200"];
  const schema = nameType(answer.content?.["application/json"]?.schema);
  const rows = (request.parameters ?? []).map((each) => {
    const standard = each.schema.default ?? null;
    const about = [each.description ?? each.schema.description ?? "",
      each.required ? "required" : "", standard === null ? "" : `default: ${standard}`];
    return [each.name, nameType(each.schema), about.filter(Boolean).join("; ")];
  });
  if (request.requestBody) {
    const [type] = Object.keys(request.requestBody.content);
    rows.unshift(["body", type, request.requestBody.description]);
  }
  return element("section", {},
    element("h3", {}, element("span", { className: "method" }, method.toUpperCase()),
      element("code", {}, path)),
    element("p", {}, `${plain(request.description)}${schema ? ` Answers ${schema}.` : ""}`),
    ...(rows.length ? [drawTable(rows)] : []));
}

function drawSchema(name, schema) {
  const rows = Object.entries(schema.properties).map(([field, each]) =>
    [field, nameType(each), each.description ?? ""]);
  return element("section", {}, element("h3", {}, name),
    element("p", {}, plain(schema.description)), drawTable(rows));
}

try {
  const described = await (await fetch("/openapi.json")).json();
  byId("about").textContent = plain(described.info.description);
  byId("example").textContent =
    `curl --data-binary @photo.jpg '${location.origin}/api/search?k=5'`;
  for (const [path, methods] of Object.entries(described.paths)) {
    for (const [method, request] of Object.entries(methods)) {
      byId("requests").append(drawRequest(path, method, request));
    }
  }
  for (const [name, schema] of Object.entries(described.components.schemas)) {
    byId("schemas").append(drawSchema(name, schema));
  }
} catch (error) {
  byId("error").textContent = `the server does not answer (${error.message})`;
  byId("error").hidden = false;
}
