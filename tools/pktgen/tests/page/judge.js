// Looks at the pages in this document's frames as a reader would, and writes down what is wrong with them.

// A colour as the browser computed it: red, green, blue from 0 to 255, and opacity.
function parts(colour) {
  const numbers = (colour.match(/[\d.]+/g) || [0, 0, 0, 0]).map(Number);
  return numbers.length < 4 ? [...numbers, 1] : numbers;
}

// Relative luminance and contrast, as WCAG 2.2 defines them.
function luminance(colour) {
  const [r, g, b] = parts(colour).map((part) => part / 255)
    .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function contrast(one, other) {
  const [low, high] = [luminance(one), luminance(other)].sort((a, b) => a - b);
  return (high + 0.05) / (low + 0.05);
}

// What is behind an element.
function ground(element) {
  for (let at = element; at; at = at.parentElement) {
    const colour = getComputedStyle(at).backgroundColor;
    if (parts(colour)[3] > 0) return colour;
  }
  return "rgb(255, 255, 255)";
}

// How much larger than written an SVG's text is shown.
function scale(element) {
  const picture = element.closest("svg");
  return picture ? picture.getBoundingClientRect().width / picture.viewBox.baseVal.width : 1;
}

// Every line of text that is shown: its words, its place, its element.
function texts(page) {
  const walker = page.createTreeWalker(page.body, NodeFilter.SHOW_TEXT);
  const found = [];
  while (walker.nextNode()) {
    const node = walker.currentNode, element = node.parentElement;
    if (!node.data.trim() || element.closest("script, style")) continue;
    const range = page.createRange();
    range.selectNodeContents(node);
    const places = element.closest("svg") ? [element.getBoundingClientRect()] : range.getClientRects();
    for (const place of places) {
      if (place.width > 0) found.push({ words: node.data.trim().slice(0, 40), place, element, node });
    }
  }
  return found;
}

function overlaps(all, say) {
  const sorted = [...all].sort((a, b) => a.place.top - b.place.top);
  sorted.forEach((one, number) => {
    for (const other of sorted.slice(number + 1)) {
      if (other.place.top > one.place.bottom - 1) break;
      const together = Math.min(one.place.right, other.place.right) - Math.max(one.place.left, other.place.left);
      if (one.node !== other.node && together > 1) say(`"${one.words}" and "${other.words}" overlap`);
    }
  });
}

// Something hides a part of the text: a box that it is in, or the picture's or the window's edge. Only a table of figures as
// long as can be may have to be scrolled, and that on no telephone.
function cut({ words, place, element }, page, excused, say) {
  if (excused && element.closest(".scroll") && page.documentElement.clientWidth > 940) return;
  for (let at = element; at && at !== page.body; at = at.parentElement) {
    const style = getComputedStyle(at);
    if (style.overflowX === "visible" && at.tagName !== "svg") continue;
    const box = at.getBoundingClientRect();
    const inside = place.left >= box.left - 0.5 && place.right <= box.right + 0.5 &&
      (at.tagName !== "svg" || place.top >= box.top - 0.5 && place.bottom <= box.bottom + 0.5);
    if (!inside) say(`"${words}" is cut by ${at.tagName} ${at.className.baseVal ?? at.className}`);
  }
  if (place.left < 0 || place.right > page.documentElement.clientWidth) say(`"${words}" is outside the window`);
}

function readable({ words, element }, say) {
  const style = getComputedStyle(element);
  const colour = element.closest("svg") ? style.fill : style.color;
  const seen = contrast(colour, ground(element));
  if (seen < 4.5) say(`"${words}" has contrast ${seen.toFixed(1)}`);
  const size = parseFloat(style.fontSize) * scale(element);
  if (size < 10) say(`"${words}" is ${size.toFixed(1)} pixels high`);
}

function judge(frame, dark) {
  const page = frame.contentDocument, window = frame.contentWindow, wrong = [];
  const say = (what) => wrong.push(what);
  if (window.matchMedia("(prefers-color-scheme: dark)").matches !== dark) say("the wrong colours were asked for");
  const isDark = luminance(ground(page.body)) < 0.5;
  if (isDark !== dark) say("the page has the wrong colours");
  page.querySelectorAll("details").forEach((details) => { details.open = true; });
  const root = page.documentElement;
  if (root.scrollWidth > root.clientWidth) say(`the page is ${root.scrollWidth} wide in a window of ${root.clientWidth}`);
  const all = texts(page);
  if (all.length < 10) say("there is hardly any text");
  overlaps(all, say);
  for (const text of all) { cut(text, page, frame.title === "hostile", say); readable(text, say); }
  for (const mark of page.querySelectorAll("svg .line, svg .dot, svg .ring")) {
    if (mark.getClientRects().length === 0) continue;
    const style = getComputedStyle(mark);
    const colour = mark.classList.contains("dot") ? style.fill : style.stroke;
    if (contrast(colour, ground(mark)) < 3) say(`${mark.getAttribute("class")} can hardly be seen`);
  }
  return { page: frame.title, width: frame.width, texts: all.length, wrong: [...new Set(wrong)].slice(0, 20) };
}

addEventListener("load", () => {
  const dark = document.documentElement.dataset.scheme === "dark";
  const found = [...document.querySelectorAll("iframe")].map((frame) => judge(frame, dark));
  const out = document.createElement("pre");
  out.id = "findings";
  out.textContent = JSON.stringify(found);
  document.body.append(out);
});
