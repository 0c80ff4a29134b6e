"use strict";
(() => {
  const left = Number(document.documentElement.dataset.plotLeft);
  const right = Number(document.documentElement.dataset.plotRight);
  const players = [...document.querySelectorAll("video, audio")];

  // Two performances at once cannot be compared.
  for (const player of players) {
    player.addEventListener("play", () => {
      for (const other of players) if (other !== player) other.pause();
    });
  }

  for (const card of document.querySelectorAll(".card[data-duration]")) {
    const own = [...card.querySelectorAll("video, audio")];
    let player = own[0];  // of several sounds the one that was played last
    if (!player) continue;
    const duration = Number(card.dataset.duration);
    const lines = [...card.querySelectorAll(".picture")].map((picture) => {
      const line = document.createElement("span");
      line.className = "now";
      line.hidden = true;
      picture.append(line);
      picture.querySelector("img").addEventListener("click", (event) => {
        const { offsetX, offsetY, currentTarget: image } = event;
        // Below its whole, a waveform shows a short span on a scale of its own.
        if (picture.matches(".waveform") && offsetY > 0.42 * image.clientHeight) return;
        const share = offsetX / image.clientWidth;
        const moment = (share - left) / (right - left);
        if (moment >= 0 && moment <= 1) player.currentTime = moment * duration;
      });
      return line;
    });
    const move = () => {
      const share = left + (right - left) * Math.min(1, player.currentTime / duration);
      for (const line of lines) {
        line.hidden = false;
        line.style.left = `${100 * share}%`;
      }
      if (!player.paused) requestAnimationFrame(move);
    };
    for (const one of own) {
      one.addEventListener("play", () => { player = one; move(); });
      one.addEventListener("seeked", () => { player = one; move(); });
    }
  }

  const contents = document.querySelector(".contents");
  if (matchMedia("(max-width: 62rem)").matches) contents.open = false;
})();
