// A player for the frames of an animation: play, pause, single steps, a slider.
// data: { name, size: [width, height] in pixels, width: that on the page,
//         parts: [x, y, width, height] of each part that may stand below the one before it on a narrow page,
//         frames: [x, y, picture] each: what changes from the one before it, as WebP in base64, and where it stands,
//         seconds: how long each stands, captions: what happens in each }

export default {
  async render({ data, el }) {
    const { name, size, width, parts, frames, seconds, captions } = data;
    const last = frames.length - 1;

    const root = document.createElement("div");
    root.className = "av-player";
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

    function redraw() {
      if (!root.classList.contains("narrow")) return shown2d.drawImage(whole, 0, 0);
      let top = 0;
      for (const [x, y, wide, high] of parts) {
        shown2d.drawImage(whole, x, y, wide, high, 0, top, wide, high);
        top += high;
      }
    }

    // Side by side as they were painted, or one below the other where their letters would become too small.
    function layOut() {
      const narrow = parts.length > 1 && root.clientWidth > 0 && root.clientWidth < 600;
      root.classList.toggle("narrow", narrow);
      const [wide, high] = narrow
        ? [Math.max(...parts.map((part) => part[2])), parts.reduce((sum, part) => sum + part[3], 0)]
        : size;
      if (canvas.width === wide && canvas.height === high) return;
      [canvas.width, canvas.height] = [wide, high];
      redraw();
    }

    function show(frame) {
      const goal = Math.min(Math.max(frame, 0), last);
      const first = goal > now ? now + 1 : 0; // backwards: from the beginning, which takes milliseconds
      for (const { x, y, picture } of changes.slice(first, goal + 1)) whole2d.drawImage(picture, x, y);
      now = goal;
      redraw();
      canvas.setAttribute("aria-label", captions[now]);
      caption.textContent = captions[now];
      slider.value = now;
      slider.setAttribute("aria-valuetext", captions[now]);
      output.textContent = `${now + 1} of ${frames.length}`;
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
    back.addEventListener("click", () => { stop(); show(now - 1); });
    on.addEventListener("click", () => { stop(); show(now + 1); });
    slider.addEventListener("input", () => { stop(); show(Number(slider.value)); });
    for (const control of controls) control.disabled = false;
    root.removeAttribute("aria-busy");
    layOut();
    new ResizeObserver(layOut).observe(root);
    show(last); // the finished picture, until somebody presses play
  },
};
