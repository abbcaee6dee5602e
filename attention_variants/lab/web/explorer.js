// The view of av.explore: one head of one sentence as lines between the tokens and as a heat map, and one of its cells
// in numbers. It computes no attention: every number comes from Python, where variant 6 made it.

// An element with attributes and children; "onclick" and its like become listeners.
function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}
const html = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
const svg = (tag, attributes = {}, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
const picture = (label, W, H, parts) =>
  svg("svg", { viewBox: `0 0 ${W} ${H}`, width: W, height: H, role: "img", "aria-label": label }, ...parts);

// Tensors travel as base64: little-endian, the last index fastest.
const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0)).buffer;
function decode({ view, tensors }) {
  const T = view.tokens.length;
  const decoded = { ...view, T, blocked: new Uint8Array(tensors.blocked ? bytes(tensors.blocked) : T * T) };
  for (const name of ["products", "scores", "exps", "weights", "largest", "sums"]) {
    decoded[name] = new Float32Array(bytes(tensors[name]));
  }
  for (const name of ["q", "k"]) {
    const { numbers, unit } = tensors[name];
    decoded[name] = Float32Array.from(new Int16Array(bytes(numbers)), (n) => n * unit);
  }
  return decoded;
}

const minus = (text) => text.replace("-", "−");
const digits = (number, count = 4) => (number === 0 ? "0" : minus(number.toPrecision(count)));
const [NUMBERS, GAP, CHECK] = [196, 16, 20]; // pixels: how wide the numbers are, what lies between two panels, a line
const LEANS = 17; // pixels: columns less wide leave no space for labels that lean
const share = (weight) => weight.toFixed(2);
const room = (texts, size) => Math.max(...texts.map((text) => text.length)) * size * 0.6 + 10; // pixels, about

// From white, 0, to the colour of the weights, 1, as in every picture.
function shade(color, weight) {
  const channel = (from) => Math.round(255 + (parseInt(color.slice(from, from + 2), 16) - 255) * weight);
  return `rgb(${channel(1)}, ${channel(3)}, ${channel(5)})`;
}

function render({ data, el, maxHeight }) {
  const { colors, kind, views, start } = data;
  const state = { ...start, key: null, all: false, shown: "map" }; // key null: the one that the query gives the largest weight
  let view = decode(views[state.view]);
  let hovered = null; // the cell [query, key] under the pointer: its numbers are shown until the pointer leaves

  const at = (i, j) => (state.head * view.T + i) * view.T + j;
  const row = (i) => Array.from(view.weights.subarray(at(i, 0), at(i, view.T)));
  const cell = () => [state.query, state.key ?? row(state.query).indexOf(Math.max(...row(state.query)))];
  const name = (i) => { // with its position if the token stands more than once
    const token = view.tokens[i];
    return view.tokens.indexOf(token) === view.tokens.lastIndexOf(token) ? token : `${token} (${i})`;
  };

  function choose(change) {
    Object.assign(state, change);
    hovered = null;
    if ("view" in change) {
      view = decode(views[state.view]);
      Object.assign(state, { head: Math.min(state.head, view.heads - 1), query: view.query, key: null });
      listTokens();
    }
    draw();
  }
  function hover(found) {
    if (String(found) === String(hovered)) return;
    hovered = found;
    drawNumbers();
  }
  const onpointerleave = () => hover(null);

  // The controls. JupyterLab leaves an element with this attribute its arrow keys, which else go to another cell.
  const ownKeys = { "data-lm-suppress-shortcuts": "true" };
  const select = (change) => html("select", { ...ownKeys, onchange: (event) => change(event.target.value) });
  const option = (value, text) => html("option", { value }, text);
  const sentence = select((value) => choose({ view: Number(value) }));
  sentence.append(...views.map(({ view }, i) => option(i, view.label)));
  const query = select((value) => choose({ query: Number(value) }));
  const key = select((value) => choose({ key: value === "" ? null : Number(value) }));
  const toHead = () => choose({ head: Number(head.value) });
  const head = html("input", { ...ownKeys, type: "range", min: 0, oninput: toHead });
  const all = html("input", { type: "checkbox", onchange: () => choose({ all: all.checked }) });
  const control = (title, input, kind = "") => html("label", { class: kind }, html("span", {}, title), input);
  const controls = html("div", { class: "controls" }, control(kind, sentence, "wide"), control("head", head),
    control("query token", query), control("key token", key, "key"));

  function listTokens() {
    const tokens = () => view.tokens.map((token, i) => option(i, `${i}  ${token}`));
    query.replaceChildren(...tokens());
    key.replaceChildren(option("", "largest weight"), ...tokens());
  }
  function drawControls() {
    head.max = view.heads - 1;
    head.previousSibling.textContent = `head ${state.head} (0 to ${view.heads - 1})`;
    [sentence.value, query.value, key.value, head.value] = [state.view, state.query, state.key ?? "", state.head];
    panels.dataset.shown = state.shown;
    for (const tab of tabs) tab.setAttribute("aria-pressed", tab.dataset.shown === state.shown);
    sentence.title = view.label; // its place may be too narrow for it
  }

  // The row in one sentence, which screen readers say when it changes.
  const reading = html("p", { class: "reading", "aria-live": "polite" });

  function drawReading() {
    const weights = row(state.query);
    const top = [...weights.keys()].sort((a, b) => weights[b] - weights[a]).slice(0, 5).filter((j) => weights[j] > 0);
    const what = top.length ? `looks at ${top.map((j) => `${name(j)}: ${share(weights[j])}`).join(", ")}.`
      : "looks at nothing: every key is blocked.";
    reading.replaceChildren(`In head ${state.head}, `, html("b", {}, name(state.query)), ` ${what}`);
  }

  // Where cells and rows are: the cells as large as width and height allow. The numbers stand beside the map; where all
  // three fit, the lines stand before it and begin and end level with its rows, and else they stand in its place, when
  // they are asked for. What is too large is moved in its box.
  const lines = html("div", { class: "moved" });
  const map = html("div", { class: "moved", tabindex: 0, role: "group", onkeydown: step, ...ownKeys,
    "aria-label": "Heat map: the arrow keys up and down choose the query, left and right the key." });

  function layout() {
    const width = panels.clientWidth || 800;
    const [side, name] = [room(view.tokens, 12), room(view.tokens, 13)];
    const end = 0.7 * room(view.tokens.slice(-1), 12); // the last label leans beyond its column
    const cells = (left) => {
      const square = Math.floor((left - side - end) / view.T);
      return square >= LEANS ? square : Math.min(Math.floor((left - side - 2) / view.T), LEANS - 1);
    };
    const thin = 2 * name + 100; // the lines as narrow as they can be
    const columns = cells(width - thin - NUMBERS - 2 * GAP) >= 14 ? 3 : width >= 480 ? 2 : 1;
    const across = width - { 3: thin + NUMBERS + 2 * GAP, 2: NUMBERS + GAP, 1: 0 }[columns];
    panels.dataset.columns = columns;
    // What stands around the map takes from the height. Below it, three lines are kept for the sentence on the row.
    const said = columns === 2 ? 3 * 20 + 20 : reading.offsetHeight + GAP;
    const down = maxHeight() - (panels.getBoundingClientRect().top - root.getBoundingClientRect().top) - said - 60;
    const leaning = (square) => square >= LEANS;
    const above = (square) => (leaning(square) ? 0.75 * side + 6 : side);
    const square = Math.min(Math.max(Math.min(cells(across), Math.floor((down - side) / view.T)), 10), 30);
    const top = above(square);
    const pitch = columns === 3 ? square : 18;
    const W = side + view.T * square + (leaning(square) ? end : 2);
    return { side, square, upright: !leaning(square), top, pitch, first: columns === 3 ? top - CHECK : 22, W,
      wide: Math.min(columns === 3 ? width - W - NUMBERS - 2 * GAP : across, 460), down };
  }

  function drawLines({ pitch, first, wide }) {
    const left = room(view.tokens, 13);
    const W = Math.max(wide, 2 * left + 100);
    const right = W - left - 40;
    const y = (i) => first + (i + 0.5) * pitch;
    const line = (i, j, thickest, strength) => {
      const weight = view.weights[at(i, j)];
      const middle = (left + right) / 2;
      const d = `M${left},${y(i)} C${middle},${y(i)} ${middle},${y(j)} ${right},${y(j)}`;
      return svg("path", { d, fill: "none", stroke: colors.weights, "data-key": j,
        "stroke-width": thickest * weight, opacity: strength * (0.7 + 0.3 * weight) });
    };
    const tokens = [...view.tokens.keys()];
    const others = state.all ? tokens.filter((i) => i !== state.query) : [];
    const text = (x, i, kind, words) => svg("text", { x, y: y(i), class: `middle ${kind}` }, words);
    const title = (x, kind, words) => svg("text", { x, y: first - 8, class: `quiet ${kind}` }, words);
    const weight = (j) => view.weights[at(state.query, j)];
    const token = (kind, x, width, i, listeners, ...texts) => svg("g", { class: `token ${kind}`, ...listeners },
      svg("rect", { x, y: y(i - 0.5) + 1, width, height: pitch - 2, rx: 3 }), ...texts);
    lines.replaceChildren(picture(`Lines from ${name(state.query)}, as thick as its weights.`, W, y(view.T), [
      svg("g", {}, ...others.flatMap((i) => tokens.map((j) => line(i, j, 7, 0.5)))),
      svg("g", { class: "lines" }, ...tokens.map((j) => line(state.query, j, 14, 1))),
      title(left - 6, "end", "query"), title(right + 6, "", "key"), title(W - 2, "end", "weight"),
      ...tokens.map((i) => token(i === state.query ? "query mine" : "query", 1, left - 1, i,
        { onclick: () => choose({ query: i }) }, text(left - 6, i, "end", view.tokens[i]))),
      ...tokens.map((j) => token("key", right, W - right, j,
        { onclick: () => choose({ key: j }), onpointermove: () => hover([state.query, j]), onpointerleave },
        text(right + 6, j, "", view.tokens[j]),
        text(W - 4, j, weight(j) < 0.005 ? "quiet end" : "end", share(weight(j))))),
    ]));
  }

  // The heat map. A pointer that rests must not undo what the keys choose: only one that moves counts.
  const hatch = `hatch-${Math.random().toString(36).slice(2)}`; // several views may stand in one notebook
  const box = svg("rect", { class: "box" }); // around the cell whose numbers are shown
  let place;
  const stripes = `repeating-linear-gradient(135deg, ${colors.blocked} 0 3px, #8c8c8c 3px 4px)`;
  const legend = html("div", { class: "legend" }, "weight  0 ",
    html("i", { style: `width: 7em; background: linear-gradient(to right, #ffffff, ${colors.weights})` }), " 1",
    html("span", {}, html("i", { style: `width: 1.4em; background: ${stripes}` }), " blocked"));

  function step(event) {
    const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[event.key];
    if (!move) return;
    event.preventDefault(); // or the page would scroll
    const [i, j] = cell().map((n, axis) => Math.min(Math.max(n + move[axis], 0), view.T - 1));
    choose(move[0] ? { query: i } : { key: j });
    box.scrollIntoView({ block: "nearest", inline: "nearest" });
  }

  function drawMap({ side, square, upright, top, W }) {
    const { T } = view;
    const [x, y] = [(j) => side + j * square, (i) => top + i * square];
    const label = (place, kind, bold, i) =>
      svg("text", { ...place, class: `label middle ${kind} ${bold ? "chosen" : ""}` }, view.tokens[i]);
    const slant = { id: hatch, width: 5, height: 5, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" };
    const stripe = (width, color) => svg("rect", { width, height: 5, fill: color });
    const parts = [svg("pattern", slant, stripe(5, colors.blocked), stripe(1.2, "#8c8c8c"))];
    for (let i = 0; i < T; i++) {
      const turn = { transform: `translate(${x(i + 0.5)},${top - 6}) rotate(${upright ? -90 : -45})` };
      parts.push(label(turn, "", i === cell()[1], i));
      parts.push(label({ x: side - 6, y: y(i + 0.5) }, "end", i === state.query, i));
      for (let j = 0; j < T; j++) {
        const weight = view.weights[at(i, j)]; // should one leak into a blocked cell, its colour is seen
        const ground = view.blocked[i * T + j] && weight === 0 ? `url(#${hatch})` : shade(colors.weights, weight);
        const frame = { x: x(j), y: y(i), width: square, height: square };
        parts.push(svg("rect", { ...frame, fill: ground, class: "cell", "data-cell": `${i},${j}` }));
      }
    }
    place = ([i, j]) => fill(box, { x: x(j), y: y(i), width: square, height: square }, []);
    const lit = { x: side - 1, y: y(state.query) - 1, width: T * square + 2, height: square + 2 };
    parts.push(svg("rect", { ...lit, class: "lit" }), box);
    const drawn = picture(`Weights of head ${state.head}.`, W, y(T) + 2, parts);
    const pointed = (event) => event.target.dataset.cell?.split(",").map(Number) ?? null;
    const pick = ([i, j]) => choose({ query: i, key: j });
    fill(drawn, { onpointermove: (event) => hover(pointed(event)), onpointerleave,
      onclick: (event) => pointed(event) && pick(pointed(event)) }, []);
    map.classList.toggle("small", square < 12);
    map.replaceChildren(drawn);
    legend.lastChild.hidden = !view.blocked.includes(1);
  }

  // The numbers behind one cell.
  const [about, bars, steps] = [html("p", { "aria-live": "polite" }), html("div"), html("ol")];

  // Bars up and down from a line: the tensor's colour for what is positive, its opposite for what is negative.
  function drawBars(title, numbers, tensor, tell) {
    const largest = Math.max(...numbers.map(Math.abs)) || 1;
    const bar = (n, c) => svg("g", {}, svg("title", {}, tell(c)),
      svg("rect", { x: c, y: -1, width: 1, height: 2, fill: "transparent" }), // so that short bars can be pointed at
      svg("rect", { x: c + 0.1, y: Math.min(-n / largest, 0), width: 0.8, height: Math.abs(n) / largest,
        fill: colors[n < 0 ? `${tensor}_opposite` : tensor] }));
    const drawn = svg("svg", { viewBox: `0 -1.06 ${numbers.length} 2.12`, preserveAspectRatio: "none", role: "img",
      "aria-label": `${title}: ${numbers.map((n) => minus(n.toFixed(2))).join(", ")}` },
      ...numbers.map(bar), svg("path", { d: `M0,0 H${numbers.length}`, stroke: colors.ink, class: "zero" }));
    const words = (text) => html("span", {}, text);
    return html("div", { class: "bars" }, words(title), words(`up to ±${digits(largest)}`), drawn);
  }

  function drawNumbers() {
    const [i, j] = hovered ?? cell();
    place([i, j]);
    const part = (tensor, n) => Array.from(tensor.subarray((state.head * view.T + n) * view.d_k).subarray(0, view.d_k));
    const [q, k] = [part(view.q, i), part(view.k, j)];
    const qk = q.map((n, c) => n * k[c]);
    const tell = (c) => `feature ${c}: ${digits(q[c])} × ${digits(k[c])} = ${digits(qk[c])}`;
    bars.replaceChildren(drawBars(`q of ${name(i)}`, q, "q", tell), drawBars(`k of ${name(j)}`, k, "k", tell),
      drawBars("q × k", qk, "scores", tell));
    const cells = [view.products, view.scores, view.exps, view.weights];
    const [product, score, exp, weight] = cells.map((tensor) => tensor[at(i, j)]);
    const [largest, sum] = [view.largest, view.sums].map((tensor) => tensor[state.head * view.T + i]);
    const [from, to] = [html("b", {}, name(i)), html("b", {}, name(j))];
    about.replaceChildren(`In head ${state.head}, `, from, " gives ", to, ` ${digits(weight)} of its weight.`);
    const less = largest < 0 ? `(${digits(largest)})` : digits(largest);
    const card = (title, number, how, color = "#8c959f") => html("li", { style: `border-color: ${color}` },
      html("span", {}, title), html("b", {}, digits(number)), html("span", { class: "how" }, how));
    steps.replaceChildren(
      card("q·k", product, `the sum of the ${view.d_k} products`, colors.scores),
      card("score", score, `${digits(product)} / √${view.d_k}`, colors.scores),
      card("exp", exp, exp ? `exp(${digits(score)} − ${less}), less the largest score` : "blocked: counts as 0"),
      card("sum", sum, "of exp over the row"),
      card("weight", weight, sum ? `${digits(exp, 5)} / ${digits(sum, 5)}` : "every key is blocked", colors.weights));
  }

  function draw() {
    drawControls();
    drawReading();
    const places = layout();
    drawLines(places);
    drawMap(places);
    drawNumbers();
    for (const box of [lines, map]) box.style.maxHeight = `${Math.max(places.down, 200)}px`;
  }
  const panel = (kind, title, ...parts) => html("section", { class: kind }, html("h2", {}, title), ...parts);
  // Where there is no room for both, one of them is shown.
  const titles = { map: "all queries", looks: "where the query looks" };
  const tabs = Object.entries(titles).map(([shown, title]) =>
    html("button", { type: "button", ...ownKeys, onclick: () => choose({ shown }), "data-shown": shown }, title));
  const panels = html("div", { class: "panels" }, html("div", { class: "tabs" }, ...tabs), reading, panel("looks", "Where the query looks", control("lines of all queries", all, "check"), lines),
    panel("map", "All queries, the chosen one framed", map, legend),
    panel("numbers", "One cell in numbers", about, bars, steps));
  const style = `--drawn: ${colors.ink}; --q: ${colors.q}; --weights: ${colors.weights}; --numbers: ${NUMBERS}px; --gap: ${GAP}px; --check: ${CHECK}px`;
  const root = html("div", { class: "av-explorer", style }, controls, panels);
  el.append(root);
  listTokens();
  draw();

  let seen = el.clientWidth; // in a notebook it gets its width later, and the pictures are as wide as their panels
  new ResizeObserver(() => {
    if (el.clientWidth !== seen) draw();
    seen = el.clientWidth;
  }).observe(el);
}

export default { render };
