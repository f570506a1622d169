/* What the schema's pages do by themselves; nothing here is needed to read. */
"use strict";

(() => {
  // An address of a part that is folded unfolds it.
  const unfold = () => {
    const at = location.hash && document.getElementById(decodeURIComponent(location.hash.slice(1)));
    if (!at) return;
    const inside = at.querySelector("details");
    if (inside) inside.open = true;
    for (let part = at; part; part = part.parentElement) if (part.tagName === "DETAILS") part.open = true;
    at.scrollIntoView();
  };
  addEventListener("hashchange", unfold);
  unfold();

  // The diagram: its size, dragged about, both ends of a line shown, and saved as a file.
  const frame = document.querySelector(".story-diagram-frame");
  const picture = frame && frame.querySelector("svg");
  if (picture) {
    const tools = document.querySelector(".diagram-tools");
    const width = Number(picture.getAttribute("width"));
    const height = Number(picture.getAttribute("height"));
    let scale = 1;
    const draw = (to) => {
      scale = Math.min(4, Math.max(0.1, to));
      picture.setAttribute("width", width * scale);
      picture.setAttribute("height", height * scale);
    };
    const fit = () => Math.min(frame.clientWidth / width, (innerHeight * 0.8) / height);
    tools.hidden = false;
    for (const button of tools.querySelectorAll("[data-zoom]")) {
      button.addEventListener("click", () => {
        const how = button.dataset.zoom;
        draw(how === "fit" ? fit() : how === "1:1" ? 1 : scale * Number(how));
      });
    }
    frame.addEventListener("wheel", (event) => {
      if (!event.ctrlKey) return;
      event.preventDefault();
      draw(scale * (event.deltaY < 0 ? 1.1 : 1 / 1.1));
    }, { passive: false });

    let held = null;
    frame.addEventListener("pointerdown", (event) => {
      if (event.pointerType === "touch" || event.button !== 0) return;
      held = { x: event.clientX, y: event.clientY, left: frame.scrollLeft, top: frame.scrollTop, moved: false };
    });
    addEventListener("pointermove", (event) => {
      if (!held) return;
      const [dx, dy] = [event.clientX - held.x, event.clientY - held.y];
      held.moved = held.moved || Math.abs(dx) + Math.abs(dy) > 4;
      if (!held.moved) return;
      frame.classList.add("is-held");
      frame.scrollLeft = held.left - dx;
      frame.scrollTop = held.top - dy;
    });
    addEventListener("pointerup", () => {
      frame.classList.remove("is-held");
      // The click that ends a drag opens nothing.
      if (held && held.moved) addEventListener("click", (event) => event.preventDefault(), { capture: true, once: true });
      held = null;
    });
    frame.addEventListener("dragstart", (event) => event.preventDefault());

    const tables = new Map([...picture.querySelectorAll("[data-table]")].map((box) => [box.dataset.table, box]));
    const lines = [...picture.querySelectorAll(".story-line")];
    const light = (which, isLit) => {
      for (const line of which) {
        line.classList.toggle("is-lit", isLit);
        for (const end of [line.dataset.from, line.dataset.to]) {
          const box = tables.get(end);
          if (box) box.classList.toggle("is-lit", isLit);
        }
      }
    };
    for (const line of lines) {
      line.addEventListener("pointerenter", () => light([line], true));
      line.addEventListener("pointerleave", () => light([line], false));
    }
    for (const [name, box] of tables) {
      const its = lines.filter((line) => line.dataset.from === name || line.dataset.to === name);
      for (const on of ["pointerenter", "focus"]) box.addEventListener(on, () => light(its, true));
      for (const off of ["pointerleave", "blur"]) box.addEventListener(off, () => light(its, false));
    }

    // A file has no style sheet: what it looks like goes into it.
    const KEPT = ["fill", "stroke", "stroke-width", "stroke-linejoin", "font-family", "font-size", "font-weight", "text-anchor"];
    const alone = () => {
      const copy = picture.cloneNode(true);
      const [from, to] = [picture, copy].map((svg) => [svg, ...svg.querySelectorAll("*")]);
      from.forEach((element, index) => {
        const style = getComputedStyle(element);
        for (const name of KEPT) to[index].setAttribute(name, style.getPropertyValue(name));
        to[index].removeAttribute("class");
      });
      for (const link of copy.querySelectorAll("a")) link.removeAttribute("href");
      copy.setAttribute("width", width);
      copy.setAttribute("height", height);
      const ground = document.createElementNS("http://www.w3.org/2000/svg", "rect");
      ground.setAttribute("width", "100%");
      ground.setAttribute("height", "100%");
      ground.setAttribute("fill", getComputedStyle(document.body).backgroundColor);
      copy.insertBefore(ground, copy.firstChild);
      return new XMLSerializer().serializeToString(copy);
    };
    const save = (blob, name) => {
      const link = Object.assign(document.createElement("a"), { href: URL.createObjectURL(blob), download: name });
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    };
    tools.querySelector("[data-save=svg]").addEventListener("click", () => {
      save(new Blob([alone()], { type: "image/svg+xml" }), "schema.svg");
    });
    tools.querySelector("[data-save=png]").addEventListener("click", () => {
      const image = new Image();
      image.addEventListener("load", () => {
        const canvas = document.createElement("canvas");
        [canvas.width, canvas.height] = [width * 2, height * 2];
        canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
        canvas.toBlob((blob) => blob && save(blob, "schema.png"));
      });
      image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(alone())}`;
    });
  }

  // The page of a run that is under way is reloaded while it lasts, but not under anybody's hands.
  const live = document.querySelector("[data-live]");
  if (live) {
    const read = async () => {
      try {
        const answer = await fetch(location.href, { credentials: "same-origin" });
        if (!answer.ok || answer.redirected) return setTimeout(read, 5000);
        const page = new DOMParser().parseFromString(await answer.text(), "text/html");
        const now = page.querySelector("[data-live]");
        if (!now) return location.reload();
        live.replaceChildren(...now.childNodes);
      } catch { /* The next one may answer. */ }
      setTimeout(read, 2000);
    };
    setTimeout(read, 2000);
  }
})();
