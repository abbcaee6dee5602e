// A player for the frames of an animation: play, pause, single steps, a slider.
// data: { name, size: [width, height] in pixels, width: that on the page,
//         parts: [x, y, width, height] of each part that may stand below the one before it on a narrow page,
//         code: how high a line is in the first of them, or 0 if that is no code,
//         captioned: whether the caption is painted in the frames,
//         lines: [first, end] of the lines that run in each frame, counted from 0,
//         frames: [x, y, picture] each: what changes from the one before it, as WebP in base64, and where it stands,
//         seconds: how long each stands, captions: what happens in each }

// Of the painted size: letters are of 8 pixels then. Where they would be smaller, the parts stand one below the other.
const READABLE = 0.72;
const PHONE = 480; // pixels: two pictures side by side are too small to be read on what is narrower
const MOVING = 0.1; // seconds: what stands no longer shows numbers on their way
const FEW_LINES = 80; // pixels: as much of the code is seen at least
const MARGIN = 4; // pixels: of the white ground around the picture

export default {
  async render({ data, el, maxHeight }) {
    const { name, size, width, parts, code, captioned, lines, frames, seconds, captions } = data;
    const last = frames.length - 1;

    const root = document.createElement("div");
    root.className = parts.length > 1 ? "av-player" : "av-player whole";
    root.style.maxWidth = `${width}px`;
    root.setAttribute("role", "group");
    root.setAttribute("aria-label", name);
    root.setAttribute("aria-busy", "true"); // until the frames are decoded: until then the controls could do nothing
    root.innerHTML = `
      <div class="picture" tabindex="0"><canvas role="img" aria-label="the frames are being decoded"></canvas></div>
      <p class="caption"></p>
      <div class="controls">
        <button class="play">▶ play</button>
        <button class="back" aria-label="one step back" title="one step back">◂</button>
        <button class="on" aria-label="one step on" title="one step on">▸</button>
        <input type="range" min="0" max="${last}" step="1" aria-label="frame">
        <output></output>
        <select aria-label="speed" title="speed">
          <option value="0.5">½ ×</option><option value="1" selected>1 ×</option><option value="2">2 ×</option>
        </select>
      </div>`;
    const [canvas, caption, play, back, on, slider, output, speed] =
      ["canvas", ".caption", ".play", ".back", ".on", "input", "output", "select"].map((part) => root.querySelector(part));

    // JupyterLab has shortcuts of its own on arrow keys and space.
    const controls = [play, back, on, slider, speed];
    for (const control of controls) {
      control.dataset.lmSuppressShortcuts = "true";
      control.disabled = true;
    }
    el.append(root);

    const changes = frames.map(([x, y, change]) => {
      const picture = new Image();
      picture.src = `data:image/webp;base64,${change}`;
      return { x, y, picture };
    });
    await Promise.all(changes.map(({ picture }) => picture.decode()));

    const whole = document.createElement("canvas"); // a whole frame, of which the page shows the parts
    [whole.width, whole.height] = size;
    const [whole2d, shown2d] = [whole, canvas].map((one) => one.getContext("2d"));
    let now = -1;
    let timer = null;

    let places = []; // of what is drawn: from where in the frame, and to where, each as x, y, width and height

    function redraw() {
      shown2d.clearRect(0, 0, canvas.width, canvas.height);
      for (const [at, [[x, y, ...size], there]] of places.entries()) {
        const down = narrow() && code && at === 0 ? code * above(size[1] / code) : 0;
        shown2d.drawImage(whole, x, y + down, ...size, ...there);
      }
    }

    // How many lines of the code lie above those that are seen, so many: the line that runs is in the middle.
    function above(seen) {
      const [first, end] = lines[Math.max(now, 0)];
      return Math.min(Math.max(Math.floor((first + end - seen) / 2), 0), parts[0][3] / code - seen);
    }

    // Side by side as they were painted, or one below the other where their letters would become too small.
    const narrow = () => root.classList.contains("narrow");
    function layOut() {
      const room = canvas.parentElement.clientWidth - 2 * MARGIN;
      if (room <= 0) return; // in a notebook it gets its width later
      root.classList.toggle("written", !captioned || room < READABLE * width); // the caption, below the picture
      leaveRoomForCaptions();
      root.classList.toggle("narrow", parts.length > 1 && room < (code ? READABLE * width : PHONE));
      const sharp = narrow() ? devicePixelRatio : size[0] / width; // pixels of the canvas for one of the page
      places = narrow() ? stack(room) : [[[0, 0, ...size], [0, 0, width, size[1] / sharp]]];
      const lowest = places.at(-1)[1];
      const goal = [narrow() ? room : width, lowest[1] + lowest[3]].map((length) => Math.round(length * sharp));
      if (String(goal) !== String([canvas.width, canvas.height])) [canvas.width, canvas.height] = goal;
      shown2d.setTransform(sharp, 0, 0, sharp, 0, 0);
      redraw();
    }

    // As high in all frames as the highest is: the controls below stay where they are.
    let measured = 0; // at which width
    function leaveRoomForCaptions() {
      if (caption.offsetWidth === measured) return;
      measured = caption.offsetWidth;
      caption.style.minHeight = "";
      const heights = [...new Set(captions)].map((text) => {
        caption.textContent = text;
        return caption.getBoundingClientRect().height;
      });
      caption.style.minHeight = `${Math.max(...heights)}px`;
      caption.textContent = captions[Math.max(now, 0)];
    }

    // As large as the width allows, and the height of the window: of the code, the lines around the one that runs.
    function stack(room) {
      const dense = size[0] / width; // painted pixels for one of the page
      const pictures = (code ? parts.slice(1) : parts).map(([, , wide, high]) => [wide / dense, high / dense]);
      const [wide, high] = [Math.max(...pictures.map((one) => one[0])), pictures.reduce((sum, one) => sum + one[1], 0)];
      const left = maxHeight() - root.offsetHeight + canvas.offsetHeight;
      const scale = Math.min(1, room / wide, code ? Math.max((left - FEW_LINES) / high, READABLE) : 1);
      let top = 0;
      return parts.map(([x, y, ...size], at) => {
        const isCode = code && at === 0;
        const each = (isCode ? Math.min(1, (room * dense) / size[0]) : scale) / dense;
        if (isCode) size[1] = Math.min(size[1], code * Math.floor(Math.max(left - scale * high, FEW_LINES) / each / code));
        const there = size.map((length) => length * each);
        top += there[1];
        return [[x, y, ...size], [isCode ? 0 : (room - there[0]) / 2, top - there[1], ...there]];
      });
    }

    function show(frame) {
      const goal = Math.min(Math.max(frame, 0), last);
      const first = goal > now ? now + 1 : 0; // backwards: from the beginning, which takes milliseconds
      for (const { x, y, picture } of changes.slice(first, goal + 1)) whole2d.drawImage(picture, x, y);
      now = goal;
      canvas.setAttribute("aria-label", captions[now]);
      caption.textContent = captions[now];
      slider.value = now;
      slider.setAttribute("aria-valuetext", captions[now]);
      output.textContent = `${now + 1} of ${frames.length}`;
      layOut(); // with the caption, which takes from the height
    }

    function stop() {
      clearTimeout(timer);
      timer = null;
      play.textContent = "▶ play";
    }

    function next() {
      timer = setTimeout(() => {
        if (now === last || !root.isConnected) return stop();
        show(now + 1);
        next();
      }, (1000 * seconds[now]) / Number(speed.value));
    }

    function start() {
      if (now === last) show(0);
      play.textContent = "❚❚ pause";
      next();
    }

    play.addEventListener("click", () => (timer === null ? start() : stop()));
    // A step goes over the frames in which numbers are on their way; the slider has them all.
    const stands = (frame) => frame <= 0 || frame >= last || seconds[frame] > MOVING;
    function step(by) {
      stop();
      let goal = now + by;
      while (!stands(goal)) goal += by;
      show(goal);
    }
    back.addEventListener("click", () => step(-1));
    on.addEventListener("click", () => step(1));
    slider.addEventListener("input", () => { stop(); show(Number(slider.value)); });
    for (const control of controls) control.disabled = false;
    root.removeAttribute("aria-busy");
    new ResizeObserver(layOut).observe(root);
    show(last); // the finished picture, until somebody presses play
  },
};
