/* What every page does by itself: the menu of a small screen, keys, and copying. Nothing here is needed to read. */
"use strict";

(() => {
  const byId = (id) => document.getElementById(id);

  const menu = byId("menu-button");
  if (menu) {
    const show = (isOpen) => {
      menu.setAttribute("aria-expanded", String(isOpen));
      document.body.classList.toggle("menu-open", isOpen);
    };
    menu.addEventListener("click", () => show(menu.getAttribute("aria-expanded") !== "true"));
    document.addEventListener("keydown", (event) => {
      if (event.key === "Escape" && menu.getAttribute("aria-expanded") === "true") {
        show(false);
        menu.focus();
      }
    });
  }

  // A panel that opens over the page closes where somebody clicks beside it, or presses Escape.
  document.addEventListener("click", (event) => {
    for (const panel of document.querySelectorAll("details.panel[open]")) {
      if (!panel.contains(event.target)) panel.open = false;
    }
  });
  document.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    for (const panel of document.querySelectorAll("details.panel[open]")) {
      panel.open = false;
      panel.querySelector("summary").focus();
    }
  });

  // A part that scrolls sideways says so at the edge where there is more.
  const cue = (part) => {
    const more = part.scrollWidth - part.clientWidth;
    part.classList.toggle("more-left", part.scrollLeft > 1);
    part.classList.toggle("more-right", more - part.scrollLeft > 1);
  };
  const parts = document.querySelectorAll(".results, .story-scroll, .scrolling");
  const watcher = new ResizeObserver((seen) => seen.forEach(({ target }) => cue(target)));
  for (const part of parts) {
    part.addEventListener("scroll", () => cue(part), { passive: true });
    watcher.observe(part);
    cue(part);
  }

  const isTyping = () => {
    const at = document.activeElement;
    return at && (at.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(at.tagName));
  };
  // The one search answers while somebody types; what it finds are links, reached by the arrow keys.
  const search = byId("site-search");
  if (search) {
    const box = byId("site-search-box");
    const found = byId("site-search-found");
    let waiting = 0;
    let asked = null;
    const hide = () => { found.hidden = true; };
    const ask = async () => {
      const term = box.value.trim();
      if (asked) asked.abort();
      if (term.length < 2) return hide();
      asked = new AbortController();
      try {
        const address = `${search.action}?part=1&q=${encodeURIComponent(term)}`;
        const answer = await fetch(address, { signal: asked.signal, credentials: "same-origin" });
        if (!answer.ok || answer.redirected) return hide();
        found.innerHTML = await answer.text();
        found.hidden = false;
      } catch (error) {
        if (error.name !== "AbortError") hide();
      }
    };
    box.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(ask, 150); });
    search.addEventListener("keydown", (event) => {
      const links = [...found.querySelectorAll("a")];
      const at = links.indexOf(document.activeElement);
      if (event.key === "Escape") {
        hide();
        box.focus();
      } else if (event.key === "ArrowDown" && !found.hidden && at < links.length - 1) {
        event.preventDefault();
        links[at + 1].focus();
      } else if (event.key === "ArrowUp" && at >= 0) {
        event.preventDefault();
        (links[at - 1] || box).focus();
      }
    });
    document.addEventListener("focusin", (event) => { if (!search.contains(event.target)) hide(); });
    document.addEventListener("click", (event) => { if (!search.contains(event.target)) hide(); });
  }

  const rows = () => [...document.querySelectorAll("#result_list tbody tr")];
  const step = (by) => {
    const all = rows();
    if (!all.length) return;
    const at = all.findIndex((row) => row.contains(document.activeElement));
    const to = all[Math.min(all.length - 1, Math.max(0, at < 0 ? 0 : at + by))];
    const link = to.querySelector("a");
    if (link) link.focus();
  };
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || isTyping()) return;
    const go = (rel) => {
      const link = document.querySelector(`nav.paginator a[rel="${rel}"]`);
      if (link) link.click();
    };
    switch (event.key) {
      case "/": {
        const box = byId("site-search-box") || byId("searchbar");
        if (!box) return;
        event.preventDefault();
        box.focus();
        box.select();
        return;
      }
      case "j": return step(1);
      case "k": return step(-1);
      case "n": return go("next");
      case "p": return go("prev");
    }
  });

  // Lists by name, kept in this browser: an address holds the whole of a view.
  for (const panel of document.querySelectorAll("details.views")) {
    const place = `views:${panel.dataset.list}`;
    const list = panel.querySelector("ul");
    const read = () => { try { return JSON.parse(localStorage.getItem(place)) || []; } catch { return []; } };
    const write = (views) => { localStorage.setItem(place, JSON.stringify(views)); show(); };
    const show = () => {
      list.replaceChildren(...read().map(({ name, query }) => {
        const item = document.createElement("li");
        const link = Object.assign(document.createElement("a"), { href: query || "?", textContent: name });
        const drop = Object.assign(document.createElement("button"), { type: "button", textContent: "Forget" });
        drop.setAttribute("aria-label", `Forget ${name}`);
        drop.addEventListener("click", () => write(read().filter((view) => view.name !== name)));
        item.append(link, drop);
        return item;
      }));
    };
    panel.querySelector("form").addEventListener("submit", (event) => {
      event.preventDefault();
      const box = panel.querySelector("input");
      const name = box.value.trim();
      const shared = document.querySelector("details.columns .help a");
      const query = shared ? shared.getAttribute("href") : location.search;
      write([...read().filter((view) => view.name !== name), { name, query }]);
      box.value = "";
    });
    panel.hidden = false;
    show();
  }

  for (const button of document.querySelectorAll("button.copy")) {
    button.hidden = false;
    button.addEventListener("click", async () => {
      const said = "Copy";
      try {
        await navigator.clipboard.writeText(button.dataset.copy);
        button.textContent = "Copied";
      } catch {
        button.textContent = "Not copied";
      }
      setTimeout(() => { button.textContent = said; }, 1500);
    });
  }
})();
