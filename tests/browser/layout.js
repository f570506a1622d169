// What is wrong with where things are on a page; `layout.py` asks it.
() => {
  const faults = [];
  const shownAt = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const style = getComputedStyle(at);
      if (style.display === "none" || style.visibility === "hidden") return false;
      if (at.classList.contains("visually-hidden") || at.classList.contains("skip-to-content-link")) return false;
      if (at.tagName === "svg") return false;
      const details = at.parentElement && at.parentElement.closest("details:not([open])");
      if (details && !at.closest("summary")) return false;
      if (style.clip === "rect(0px, 0px, 0px, 0px)" || style.clipPath === "inset(50%)") return false;
    }
    return true;
  };
  const clipped = (box, node) => {
    let [left, top, right, bottom] = [box.left, box.top, box.right, box.bottom];
    for (let at = node; at && at !== document.body; at = at.parentElement) {
      const style = getComputedStyle(at);
      if (style.overflowX === "visible" && style.overflowY === "visible") continue;
      const edge = at.getBoundingClientRect();
      [left, top] = [Math.max(left, edge.left), Math.max(top, edge.top)];
      [right, bottom] = [Math.min(right, edge.right), Math.min(bottom, edge.bottom)];
    }
    return right - left > 1 && bottom - top > 1 ? { left, top, right, bottom } : null;
  };
  const pieces = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const owner = node.parentElement;
    if (!node.data.trim() || !owner || ["SCRIPT", "STYLE", "OPTION"].includes(owner.tagName) || !shownAt(owner)) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    for (const box of range.getClientRects()) {
      const seen = clipped(box, owner);
      if (seen) pieces.push({ ...seen, owner, text: node.data.trim().slice(0, 40) });
    }
  }
  for (const owner of document.querySelectorAll("input:not([type=hidden]), select, textarea, img, button, a.button, svg.chart")) {
    if (owner.tagName !== "svg" ? !shownAt(owner) : !shownAt(owner.parentElement)) continue;
    const seen = clipped(owner.getBoundingClientRect(), owner.parentElement);
    if (seen) pieces.push({ ...seen, owner, text: owner.outerHTML.slice(0, 60) });
  }
  pieces.sort((one, other) => one.top - other.top);
  for (let i = 0; i < pieces.length; i += 1) {
    for (let j = i + 1; j < pieces.length && pieces[j].top < pieces[i].bottom - 2; j += 1) {
      const [one, other] = [pieces[i], pieces[j]];
      if (one.owner.contains(other.owner) || other.owner.contains(one.owner)) continue;
      const wide = Math.min(one.right, other.right) - Math.max(one.left, other.left);
      const high = Math.min(one.bottom, other.bottom) - Math.max(one.top, other.top);
      if (wide > 2 && high > 3) faults.push(`"${one.text}" and "${other.text}" overlap by ${wide.toFixed()}x${high.toFixed()}`);
    }
  }
  const whole = document.documentElement;
  if (whole.scrollWidth > innerWidth + 1) faults.push(`the page is ${whole.scrollWidth} px wide`);
  for (const part of document.body.querySelectorAll("*")) {
    if (part.scrollWidth <= part.clientWidth + 1 || part.clientWidth === 0 || !shownAt(part)) continue;
    const style = getComputedStyle(part);
    if (style.overflowX === "visible" || ["INPUT", "TEXTAREA", "SELECT"].includes(part.tagName)) continue;
    if (style.textOverflow === "ellipsis") continue;
    if (part.classList.contains("more-right") || part.classList.contains("more-left")) continue;
    faults.push(`${part.outerHTML.slice(0, 80)} is cut off by ${part.scrollWidth - part.clientWidth} px without a cue`);
  }
  for (const part of document.querySelectorAll("a[href], button, input:not([type=hidden]), select, textarea, summary")) {
    if (part.closest("svg") || !shownAt(part) || part.disabled) continue;
    if (part.tabIndex !== 0) faults.push(`${part.outerHTML.slice(0, 80)} is not reached by Tab (${part.tabIndex})`);
  }
  for (const part of document.querySelectorAll(".more-right, .more-left")) {
    if (part.tabIndex !== 0) faults.push(`${part.outerHTML.slice(0, 80)} cannot be scrolled by keys`);
  }
  return faults;
}
