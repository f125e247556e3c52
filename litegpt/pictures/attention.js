"use strict";

// What the page holds: weights[layer][head][query][key], the lower triangles one after another.
const data = JSON.parse(document.getElementById("data").textContent);
const { tokens, layers, heads } = data;
const length = tokens.length;
const bytes = Uint8Array.from(atob(data.weights), (c) => c.charCodeAt(0));
const packed = new DataView(bytes.buffer);
const triangle = (length * (length + 1)) / 2;
const MEAN = heads; // the choice after the last head

const element = (id) => document.getElementById(id);
const make = (tag, name, text) => {
  const made = document.createElement(tag);
  if (name) made.className = name;
  if (text !== undefined) made.textContent = text;
  return made;
};

function weight(layer, head, query, key) {
  if (head === MEAN) {
    let sum = 0;
    for (let h = 0; h < heads; h++) sum += weight(layer, h, query, key);
    return sum / heads;
  }
  const place = (layer * heads + head) * triangle + (query * (query + 1)) / 2 + key;
  return packed.getUint16(2 * place, true) / 65535;
}

const state = { layer: 0, head: 0, query: length - 1, held: false };
const percent = (w) => (100 * w).toFixed(w < 0.0995 ? 1 : 0) + " %";
const headName = (head) => (head === MEAN ? "mean of all heads" : `head ${head}`);
const tint = (w, most = 1) =>
  ink + Math.round(255 * most * Math.sqrt(w)).toString(16).padStart(2, "0");
let ink = ""; // #rrggbb

function strongest(layer, head, query, count) {
  const found = [];
  for (let key = 0; key <= query; key++) found.push([weight(layer, head, query, key), key]);
  found.sort((a, b) => b[0] - a[0] || b[1] - a[1]);
  return found.slice(0, count);
}

// The text: each token tinted by what the token that looks takes from it.
const spans = tokens.map((label, place) => {
  const span = make("span", "token", label);
  span.id = `token-${place}`;
  span.setAttribute("role", "option");
  span.addEventListener("pointerenter", () => state.held || look(place));
  span.addEventListener("click", () => {
    state.held = !(state.held && state.query === place);
    look(place);
  });
  element("text").append(span);
  if (data.breaks[place]) element("text").append(make("br"));
  return span;
});

element("text").addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1, Home: -length, End: length }[event.key];
  if (event.key === "Escape") state.held = false;
  else if (step === undefined) return;
  else state.held = true;
  event.preventDefault();
  look(Math.min(length - 1, Math.max(0, state.query + (step ?? 0))));
});

function showText() {
  const { layer, head, query } = state;
  spans.forEach((span, key) => {
    const later = key > query;
    span.classList.toggle("later", later);
    span.classList.toggle("looks", key === query);
    span.setAttribute("aria-selected", String(key === query));
    span.style.backgroundColor = later ? "" : tint(weight(layer, head, query, key), 0.6);
    span.title = later ? "comes later" : percent(weight(layer, head, query, key));
  });
  element("text").setAttribute("aria-activedescendant", `token-${query}`);
  const taken = strongest(layer, head, query, 5).filter(([w]) => w >= 0.005);
  const says = element("says");
  says.replaceChildren(`Layer ${layer}, ${headName(head)}: `, make("bdi", "mono", tokens[query]));
  says.append(" takes ");
  taken.forEach(([w, key], i) => {
    if (i) says.append(", ");
    says.append(`${percent(w)} from `, make("bdi", "mono", tokens[key]), ` (${key})`);
  });
  element("held").textContent = state.held ? "held; click it again, or Esc, to let go" : "";
}

// Every head: a strip of the token that looks.
const strips = [];
function buildEvery() {
  const every = element("every");
  element("halves").classList.toggle("wide", heads > 4);
  every.style.gridTemplateColumns = `auto repeat(${heads}, minmax(5rem, 1fr))`;
  every.append(make("span"));
  for (let head = 0; head < heads; head++) every.append(make("span", "column", `head ${head}`));
  for (let layer = 0; layer < layers; layer++) {
    every.append(make("span", "layer", `layer ${layer}`));
    for (let head = 0; head < heads; head++) {
      const button = make("button", "head");
      const canvas = make("canvas");
      const most = make("span", "most mono");
      button.append(canvas, most);
      button.setAttribute("aria-label", `layer ${layer}, head ${head}`);
      button.addEventListener("click", () => choose(layer, head));
      every.append(button);
      strips.push({ layer, head, button, canvas, most });
    }
  }
}

function showEvery() {
  for (const { layer, head, button, canvas, most } of strips) {
    canvas.width = length;
    canvas.height = 1;
    const draw = canvas.getContext("2d");
    for (let key = 0; key <= state.query; key++) {
      draw.fillStyle = tint(weight(layer, head, state.query, key));
      draw.fillRect(key, 0, 1, 1);
    }
    const [[w, key]] = strongest(layer, head, state.query, 1);
    most.textContent = `${tokens[key]} ${percent(w)}`;
    button.classList.toggle(
      "chosen",
      layer === state.layer && (head === state.head || state.head === MEAN),
    );
  }
}

// The map: all tokens of the chosen head, with labels while they are few enough to be read.
const named = length <= 48;
const room = Math.floor((named ? 400 : 480) / length);
const cell = named ? Math.min(26, Math.max(14, room)) : Math.max(2, room);
let margin = 0;
const cells = make("canvas"); // a pixel for each weight, drawn again for another head or theme
let drawn = "";

function drawCells() {
  const wanted = [state.layer, state.head, ink].join();
  if (drawn === wanted) return;
  drawn = wanted;
  cells.width = cells.height = length;
  const draw = cells.getContext("2d");
  for (let query = 0; query < length; query++) {
    for (let key = 0; key <= query; key++) {
      draw.fillStyle = tint(weight(state.layer, state.head, query, key));
      draw.fillRect(key, query, 1, 1);
    }
  }
}

function showMap() {
  const canvas = element("map");
  const ratio = window.devicePixelRatio || 1;
  const draw = canvas.getContext("2d");
  const font = '11px "DejaVu Sans Mono", Menlo, Consolas, monospace';
  draw.font = font;
  margin = named ? 8 + Math.max(...tokens.map((label) => draw.measureText(short(label)).width)) : 1;
  const size = margin + cell * length + 1;
  canvas.width = canvas.height = size * ratio;
  canvas.style.width = canvas.style.height = `${size}px`;
  draw.scale(ratio, ratio);
  draw.font = font;
  const style = getComputedStyle(document.documentElement);
  drawCells();
  draw.imageSmoothingEnabled = false;
  draw.drawImage(cells, margin, margin, cell * length, cell * length);
  draw.strokeStyle = style.getPropertyValue("--line");
  draw.strokeRect(margin - 0.5, margin - 0.5, cell * length + 1, cell * length + 1);
  draw.strokeStyle = style.getPropertyValue("--series-1");
  draw.strokeRect(margin - 0.5, margin + state.query * cell - 0.5, cell * length + 1, cell + 1);
  if (!named) return;
  draw.textBaseline = "middle";
  tokens.forEach((label, place) => {
    const middle = margin + (place + 0.5) * cell;
    draw.fillStyle = style.getPropertyValue(place === state.query ? "--series-1" : "--text");
    draw.textAlign = "right";
    draw.fillText(short(label), margin - 5, middle);
    draw.save();
    draw.translate(middle, margin - 5);
    draw.rotate(-Math.PI / 2);
    draw.textAlign = "left";
    draw.fillText(short(label), 0, 0);
    draw.restore();
  });
}

const short = (label) => ([...label].length > 12 ? [...label].slice(0, 11).join("") + "…" : label);

function cellAt(event) {
  const box = element("map").getBoundingClientRect();
  const query = Math.floor((event.clientY - box.top - margin) / cell);
  const key = Math.floor((event.clientX - box.left - margin) / cell);
  return query >= 0 && query < length ? { query, key } : null;
}

element("map").addEventListener("pointermove", (event) => {
  const at = cellAt(event);
  if (!at) return;
  const inside = at.key >= 0 && at.key <= at.query;
  element("map").title = inside
    ? `${tokens[at.query]} takes ${percent(weight(state.layer, state.head, at.query, at.key))} from ${tokens[at.key]}`
    : "";
  if (!state.held) look(at.query);
});
element("map").addEventListener("click", (event) => {
  const at = cellAt(event);
  if (!at) return;
  state.held = true;
  look(at.query);
});

// Choices
function fill(select, names, chosen) {
  names.forEach((name, value) => select.append(new Option(name, String(value))));
  select.addEventListener("change", () => chosen(Number(select.value)));
}

function choose(layer, head) {
  Object.assign(state, { layer, head });
  element("layer").value = String(layer);
  element("head").value = String(head);
  show();
}

function look(query) {
  state.query = query;
  show();
}

function show() {
  ink = getComputedStyle(document.documentElement).getPropertyValue("--series-1").trim();
  showText();
  showEvery();
  showMap();
}

const counted = (count) => Array.from({ length: count }, (_, number) => String(number));
fill(element("layer"), counted(layers), (layer) => choose(layer, state.head));
fill(element("head"), [...counted(heads), "all (mean)"], (head) => choose(state.layer, head));
window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", show);
buildEvery();
choose(layers - 1, 0);
