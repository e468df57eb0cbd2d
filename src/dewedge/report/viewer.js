"use strict";
// Sliders of the sections and of the wipe; without scripts the middle sections are shown, half and half.
document.body.classList.add("scripted");
const pictures = JSON.parse(document.getElementById("pictures").textContent);
const volumes = document.getElementById("volumes");

// A page that loads itself again keeps what was set on it, where the browser lets files store anything.
if (document.querySelector("meta[http-equiv=refresh]")) {
  const controls = [...document.querySelectorAll(".controls input")];
  const key = (control) => (control.type === "range" ? "value" : "checked");
  try {
    const kept = JSON.parse(sessionStorage.getItem(location.pathname)) ?? [];
    if (kept.length === controls.length) controls.forEach((control, i) => { control[key(control)] = kept[i]; });
    addEventListener("pagehide", () => {
      const values = controls.map((control) => control[key(control)]);
      sessionStorage.setItem(location.pathname, JSON.stringify(values));
    });
  } catch {
    // It begins anew, then.
  }
}

function show(view, slider) {
  const number = Number(slider.value);
  const told = slider.dataset.places.split(" ")[number];
  for (const [role, views] of Object.entries(pictures)) {
    const image = document.querySelector(`.${role} .${view} img`);
    image.src = views[view][number];
    image.alt = image.alt.replace(/section \d+/, `section ${told}`);
  }
  const axis = slider.dataset.axis;
  volumes.style.setProperty(`--${axis}`, `${100 * slider.dataset.shares.split(" ")[number]}%`);
  const text = `${told} of ${slider.dataset.of}`;
  slider.setAttribute("aria-valuetext", `section ${text}`);
  document.getElementById(`at-${view}`).textContent = text;
}

for (const slider of document.querySelectorAll("input[data-view]")) {
  slider.addEventListener("input", () => show(slider.dataset.view, slider));
  show(slider.dataset.view, slider);
}

const wipe = document.getElementById("wipe");
if (wipe) {
  const move = () => {
    volumes.style.setProperty("--wipe", `${wipe.value}%`);
    wipe.setAttribute("aria-valuetext", `${wipe.value} % of the width is ${wipe.dataset.before}`);
  };
  wipe.addEventListener("input", move);
  move();
  for (const section of document.querySelectorAll(".section")) {
    const drag = (event) => {
      if (!volumes.classList.contains("wipe") || !(event.buttons & 1)) return;
      const box = section.getBoundingClientRect();
      wipe.value = Math.round(100 * (event.clientX - box.left) / box.width);
      move();
      event.preventDefault();
    };
    section.addEventListener("pointerdown", (event) => {
      if (volumes.classList.contains("wipe")) section.setPointerCapture(event.pointerId);
      drag(event);
    });
    section.addEventListener("pointermove", drag);
  }
  const choices = document.querySelectorAll("input[name=layout]");
  const lay = () => {
    const chosen = document.querySelector("input[name=layout]:checked").value;
    volumes.classList.toggle("wipe", chosen === "wipe");
    volumes.classList.toggle("beside", chosen === "beside");
    wipe.disabled = chosen !== "wipe";
  };
  choices.forEach((choice) => choice.addEventListener("change", lay));
  lay();
}

const places = document.getElementById("places");
if (places) {
  const lines = () => volumes.classList.toggle("without-places", !places.checked);
  places.addEventListener("change", lines);
  lines();
}

const copy = document.getElementById("copy");
copy.addEventListener("click", () => {
  const citation = document.getElementById("citation");
  const range = document.createRange();
  range.selectNodeContents(citation);
  getSelection().removeAllRanges();
  getSelection().addRange(range);
  const done = document.execCommand("copy");  // files have no navigator.clipboard in all browsers
  document.getElementById("copied").textContent = done ? "copied" : "selected: copy it by Ctrl-C";
});
