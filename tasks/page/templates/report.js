"use strict";
(() => {
  const left = Number(document.documentElement.dataset.plotLeft);
  const right = Number(document.documentElement.dataset.plotRight);
  const SEEK_S = 2;
  const IN_STEP_S = 0.02;  // closer than this is left alone
  const JUMP_S = 0.3;  // farther than this is sought, not caught up with
  const N_IN_STEP = 4;  // sounds of a take that run at once: more are stopped, the oldest first
  const decks = [];

  const clock = (time_s) => {
    const whole = Math.floor(time_s);
    return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
  };

  // The sounds of one take and its film, on one clock: that of the sound that is heard.
  class Deck {
    constructor(root) {
      this.root = root;
      this.duration_s = Number(root.dataset.duration);
      this.film = root.querySelector("video");
      this.buttons = [...root.querySelectorAll(".track")];
      this.sounds = this.buttons.map((button) => button.parentElement.querySelector("audio"));
      this.play_button = root.querySelector(".play");
      this.seek_bar = root.querySelector(".seek");
      this.loop_button = root.querySelector(".loop");
      this.running = [0];  // numbers of sounds in step, the last chosen first
      this.is_playing = false;
      this.at_s = 0;
      this.loop_s = [0, this.duration_s];
      this.lines = [...root.querySelectorAll(".card .picture")].map((picture) => this.line(picture));
      this.buttons.forEach((button, at) => button.addEventListener("click", () => {
        if (at === this.running[0] && this.is_playing) this.pause();
        else { this.choose(at); this.play(); }
      }));
      this.play_button.addEventListener("click", () => this.toggle());
      this.loop_button.addEventListener("click", () => this.toggle_loop());
      this.seek_bar.addEventListener("input", () => this.seek(Number(this.seek_bar.value)));
      root.addEventListener("keydown", (event) => this.key(event));
      this.sounds.forEach((sound, at) => sound.addEventListener("ended", () => {
        if (at === this.running[0] && this.is_playing) this.end();
      }));
      this.show();
    }

    get leader() { return this.sounds[this.running[0]]; }

    get others() {
      const sounds = this.running.slice(1).map((at) => this.sounds[at]);
      return this.film ? [...sounds, this.film] : sounds;
    }

    line(picture) {
      const line = document.createElement("span");
      line.className = "now";
      line.hidden = true;
      picture.append(line);
      const duration_s = Number(picture.closest(".card").dataset.duration) || this.duration_s;
      picture.querySelector("img").addEventListener("click", (event) => {
        const { offsetX, offsetY, currentTarget: image } = event;
        // Below its whole, a waveform shows a short span on a scale of its own.
        if (picture.matches(".waveform") && offsetY > 0.42 * image.clientHeight) return;
        const moment = (offsetX / image.clientWidth - left) / (right - left);
        if (moment >= 0 && moment <= 1) this.seek(moment * duration_s);
      });
      return { line, duration_s };
    }

    // Every sound that is to run together is there before the first begins.
    async play() {
      for (const deck of decks) if (deck !== this) deck.pause();
      this.is_playing = true;
      this.show();
      if (this.film) this.film.hidden = false;
      const media = [this.leader, ...this.others];
      await Promise.all(media.map((one) => this.ready(one)));
      if (!this.is_playing) return;
      if (this.at_s >= (this.leader.duration || this.duration_s) - 0.05) this.at_s = this.start_s;
      for (const one of media) {
        one.muted = one !== this.leader;
        if (Math.abs(one.currentTime - this.at_s) > IN_STEP_S) one.currentTime = Math.min(this.at_s, one.duration || this.at_s);
      }
      await Promise.all(media.map((one) => one.play().catch(() => {})));
      this.tick();
    }

    ready(one) {
      if (one.readyState >= 3 || one.error) return Promise.resolve();
      one.preload = "auto";
      one.load();
      return new Promise((resolve) => {
        for (const name of ["canplay", "error"]) one.addEventListener(name, resolve, { once: true });
      });
    }

    pause() {
      this.is_playing = false;
      for (const one of [this.leader, ...this.others]) { one.pause(); one.playbackRate = 1; }
      this.show();
    }

    toggle() { if (this.is_playing) this.pause(); else this.play(); }

    toggle_loop() {
      const is_on = this.loop_button.getAttribute("aria-pressed") === "true";
      if (is_on) this.loop_s = [0, this.duration_s];
      this.loop_button.setAttribute("aria-pressed", String(!is_on));
      this.loop_button.textContent = "Loop";
    }

    get is_loop() { return this.loop_button.getAttribute("aria-pressed") === "true"; }

    get start_s() { return this.is_loop ? this.loop_s[0] : 0; }

    set_loop(which) {
      this.loop_s[which] = this.at_s;
      if (this.loop_s[0] >= this.loop_s[1]) this.loop_s = which ? [0, this.at_s] : [this.at_s, this.duration_s];
      this.loop_button.setAttribute("aria-pressed", "true");
      this.loop_button.textContent = `Loop ${clock(this.loop_s[0])}–${clock(this.loop_s[1])}`;
    }

    end() {
      if (this.is_loop) { this.seek(this.start_s); this.play(); return; }
      this.pause();
      this.seek(0);
    }

    seek(time_s) {
      this.at_s = Math.max(0, Math.min(this.duration_s, time_s));
      for (const one of [this.leader, ...this.others]) if (one.readyState) one.currentTime = this.at_s;
      this.show();
    }

    choose(at) {
      if (at === this.running[0]) return;
      const before = this.leader;
      this.running = [at, ...this.running.filter((one) => one !== at)];
      for (const dropped of this.running.splice(N_IN_STEP)) this.sounds[dropped].pause();
      this.leader.playbackRate = 1;
      if (this.is_playing && this.leader.paused) this.play();  // it joins the others
      this.leader.muted = false;
      before.muted = true;
      this.show();
    }

    key(event) {
      if (event.altKey || event.ctrlKey || event.metaKey) return;
      const is_button = event.target.matches("button, summary, a");
      const number = Number(event.key);
      if (event.key === " " && !is_button) this.toggle();
      else if (event.key === "ArrowLeft") this.seek(this.at_s - SEEK_S);
      else if (event.key === "ArrowRight") this.seek(this.at_s + SEEK_S);
      else if (event.key === "Home") this.seek(0);
      else if (number >= 1 && number <= this.sounds.length) this.choose(number - 1);
      else if (event.key === "x" || event.key === "X") { if (this.running.length > 1) this.choose(this.running[1]); }
      else if (event.key === "l" || event.key === "L") this.toggle_loop();
      else if (event.key === "[") this.set_loop(0);
      else if (event.key === "]") this.set_loop(1);
      else return;
      event.preventDefault();
    }

    // Those that are not heard catch up by running a little faster or slower.
    tick() {
      if (!this.is_playing) return;
      this.at_s = this.leader.currentTime;
      for (const one of this.others) {
        const late_s = this.at_s - one.currentTime;
        if (one.seeking || one.ended || this.at_s > one.duration) continue;
        if (Math.abs(late_s) > JUMP_S) one.currentTime = this.at_s;
        else one.playbackRate = Math.abs(late_s) < IN_STEP_S ? 1 : Math.max(0.5, Math.min(2, 1 + 3 * late_s));
        if (one.paused) one.play().catch(() => {});
      }
      if (this.is_loop && this.at_s >= this.loop_s[1] - 0.01 && this.loop_s[1] < this.duration_s) this.seek(this.start_s);
      this.show();
      requestAnimationFrame(() => this.tick());
    }

    show() {
      this.play_button.classList.toggle("running", this.is_playing);
      this.play_button.setAttribute("aria-label", this.is_playing ? "Pause" : "Play");
      this.seek_bar.value = this.at_s;
      this.root.querySelector(".at").textContent = clock(this.at_s);
      this.buttons.forEach((button, at) => button.setAttribute("aria-pressed", String(at === this.running[0])));
      const has_begun = this.is_playing || this.at_s > 0;
      for (const { line, duration_s } of this.lines) {
        line.hidden = !has_begun || this.at_s > duration_s;
        line.style.left = `${100 * (left + (right - left) * (this.at_s / duration_s))}%`;
      }
    }
  }

  for (const root of document.querySelectorAll(".deck")) if (root.querySelector("audio")) decks.push(new Deck(root));

  // Baselines are folded away below the systems.
  for (const rows of document.querySelectorAll("tbody[data-fold]")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "fold";
    const fold = (is_folded) => {
      rows.hidden = is_folded;
      button.setAttribute("aria-expanded", String(!is_folded));
      button.textContent = `${is_folded ? "Show" : "Hide"} ${rows.dataset.fold}`;
    };
    button.addEventListener("click", () => fold(!rows.hidden));
    fold(true);
    rows.closest(".scroll").after(button);
  }

  // A click on a heading sorts each group of rows; of figures the better come first.
  const value = (row, column, kind) => {
    const cell = row.cells[column];
    const text = cell.dataset.value ?? cell.textContent.trim();
    if (kind === "text") return text.toLowerCase();
    const number = Number.parseFloat(text.replace("−", "-"));
    return Number.isNaN(number) ? Infinity : number;
  };
  const sortBy = (heading, is_rising) => {
    for (const other of heading.parentElement.cells) other.removeAttribute("aria-sort");
    heading.setAttribute("aria-sort", is_rising ? "ascending" : "descending");
    const { cellIndex: column, dataset: { sort: kind } } = heading;
    for (const body of heading.closest("table").tBodies) {
      const rows = [...body.rows].map((row) => [value(row, column, kind), row]);
      rows.sort(([a], [b]) => {
        if (a === b) return 0;
        if (a === Infinity || b === Infinity) return a === Infinity ? 1 : -1;  // no value: last
        return (a < b ? -1 : 1) * (is_rising ? 1 : -1);
      });
      body.append(...rows.map(([, row]) => row));
    }
  };
  for (const heading of document.querySelectorAll("th[data-sort]")) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "sort";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => sortBy(heading, heading.getAttribute("aria-sort") !== "ascending"));
  }

  // Where there is no room for headings, a list of them sorts.
  for (const table of document.querySelectorAll(".scroll > table")) {
    const headings = [...table.querySelectorAll("th[data-sort]")];
    if (headings.length === 0 || [...table.tBodies].every((body) => body.rows.length < 2)) continue;
    const list = document.createElement("select");
    list.className = "sort-by";
    list.setAttribute("aria-label", "Sort the table");
    list.add(new Option("Sort by", ""));
    for (const [index, heading] of headings.entries()) {
      const name = heading.querySelector(".metric") ?? heading;
      list.add(new Option(name.textContent.trim(), String(index)));
    }
    list.addEventListener("change", () => {
      if (list.value !== "") sortBy(headings[Number(list.value)], true);
    });
    table.before(list);
  }

  // A field above a long table keeps the rows that have all its words.
  for (const table of document.querySelectorAll("table[data-filter]")) {
    if (table.tBodies[0].rows.length < 8) continue;
    const field = document.createElement("input");
    field.type = "search";
    field.className = "filter";
    field.placeholder = "Filter";
    field.setAttribute("aria-label", `Filter ${table.dataset.filter}`);
    field.addEventListener("input", () => {
      const words = field.value.toLowerCase().split(/\s+/);
      for (const row of table.tBodies[0].rows) {
        const text = row.textContent.toLowerCase();
        row.hidden = !words.every((word) => text.includes(word));
      }
    });
    table.closest(".scroll").before(field);
  }

  const contents = document.querySelector(".contents");
  if (matchMedia("(max-width: 62rem)").matches) contents.open = false;
})();
