"use strict";
// Filters, sorts and pages the gallery, and moves the cursor over a sound's picture. Without it every row is shown.
(() => {
  const PAGE = 24;
  const rows = JSON.parse(document.getElementById("rows").textContent);
  const holder = document.getElementById("cards");
  const form = document.getElementById("filter");
  const counted = document.getElementById("counted");
  const more = document.getElementById("more");
  if (!rows.cards.length) return;
  for (const row of rows.cards) {
    row.element = document.getElementById("row-" + row.row);
    row.words = null;
  }
  const fields = form.elements;
  let limit = PAGE;

  const target = () => fields.target.value;
  const of = (row) => row.targets[target()] || {};
  const number = (value) => (value === null || value === undefined ? null : value);

  function fill(select, values) {
    const kept = select.value;
    select.replaceChildren(new Option("all", ""), ...values.map((value) => new Option(shorten(value), "=" + value)));
    select.value = kept;
    if (select.selectedIndex < 0) select.value = "";
  }
  const shorten = (text) => (text.length > 60 ? text.slice(0, 59) + "…" : text);
  const some = (name) => [...new Set(rows.cards.map((row) => of(row)[name]).filter((value) => typeof value === "string"))].sort();
  const show = (name, isShown) => form.querySelectorAll("." + name).forEach((part) => { part.hidden = !isShown; });

  function offer() {
    const isKnown = (name) => rows.cards.some((row) => number(of(row)[name]) !== null);
    fill(fields.truth, some("truth"));
    fill(fields.answer, some("answer"));
    show("only-several", rows.targets.length > 1);
    show("only-classes", isKnown("right"));
    show("only-verdicts", isKnown("right"));
    show("only-confident", isKnown("confidence"));
    for (const option of fields.sort.options) {
      const name = option.value.replace("-", "");
      option.hidden = option.disabled = !(name === "" || name === "row" || isKnown(name));
    }
  }

  function fits(row) {
    const each = of(row);
    const verdict = fields.verdict.value;
    if (fields.truth.value && each.truth !== fields.truth.value.slice(1)) return false;
    if (fields.answer.value && each.answer !== fields.answer.value.slice(1)) return false;
    if (verdict === "right" && each.right !== true) return false;
    if (verdict === "wrong" && each.right !== false) return false;
    if (verdict === "suspect" && number(each.suspect) === null) return false;
    const confidence = number(each.confidence);
    const from = Number(fields.from.value || 0), to = Number(fields.to.value || 100);
    if (confidence !== null && (100 * confidence < from || 100 * confidence > to)) return false;
    const words = fields.words.value.trim().toLowerCase();
    if (!words) return true;
    row.words = row.words === null ? row.element.textContent.toLowerCase() : row.words;
    return row.words.includes(words);
  }

  function sorted(found) {
    const [, sign, name] = /^(-?)(.*)$/.exec(fields.sort.value);
    if (!name) return found;
    const key = (row) => (name === "row" ? row.row : number(of(row)[name]));
    const known = found.filter((row) => key(row) !== null);
    known.sort((a, b) => (sign ? key(b) - key(a) : key(a) - key(b)));
    return [...known, ...found.filter((row) => key(row) === null)];
  }

  function apply() {
    const found = sorted(rows.cards.filter(fits));
    const visible = new Set(found.slice(0, limit));
    for (const row of rows.cards) row.element.hidden = !visible.has(row);
    holder.append(...found.map((row) => row.element));
    more.hidden = found.length <= limit;
    more.textContent = "Show " + Math.min(PAGE, found.length - limit) + " more";
    counted.value = "Showing " + visible.size + " of " + found.length + " rows that fit; "
      + rows.cards.length + " of " + rows.judged + " judged rows are in this file.";
  }

  function filter(changes) {
    form.reset();
    holder.classList.remove("no-heat");
    if (changes.target) fields.target.value = changes.target;
    offer();
    for (const name of ["truth", "answer"]) {
      if (changes[name] !== undefined && changes[name] !== null) choose(fields[name], changes[name]);
    }
    fields.verdict.value = changes.verdict || "";
    limit = PAGE;
    apply();
  }
  // No row of the gallery may have it: it is offered all the same, and finds none.
  function choose(select, value) {
    if (![...select.options].some((option) => option.value === "=" + value)) select.add(new Option(shorten(value), "=" + value));
    select.value = "=" + value;
  }

  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("input", (event) => {
    if (event.target !== fields.sort) limit = PAGE;
    if (event.target !== fields.marks) apply();
  });
  fields.target.addEventListener("change", () => { fields.truth.value = fields.answer.value = ""; offer(); apply(); });
  fields.all.addEventListener("click", () => filter({ target: target() }));
  fields.marks.addEventListener("change", () => holder.classList.toggle("no-heat", !fields.marks.checked));
  more.addEventListener("click", () => {
    const first = [...holder.children].find((card) => card.hidden);
    limit += PAGE;
    apply();
    if (first && !first.hidden) first.focus();
  });
  document.addEventListener("click", (event) => {
    const link = event.target.closest("a.to-gallery");
    if (link) filter(JSON.parse(link.dataset.filter));
  });

  // A link to a row must not lead to a hidden one.
  function reveal() {
    const row = rows.cards.find((each) => location.hash === "#row-" + each.row);
    if (!row) return;
    if (row.element.hidden) {
      filter({});
      limit = rows.cards.length;
      apply();
    }
    row.element.scrollIntoView();
    row.element.focus({ preventScroll: true });
  }
  addEventListener("hashchange", reveal);

  // Sounds: one at a time, a line over the picture of what is heard
  function follow(audio) {
    const cursor = audio.closest(".mmkeras-sound")?.querySelector(".mmkeras-cursor");
    if (!cursor) return;
    const seconds = Number(cursor.dataset.seconds) || audio.duration;
    cursor.style.opacity = audio.currentTime > 0 && audio.currentTime <= seconds ? 1 : 0;
    cursor.style.left = 100 * Math.min(audio.currentTime / seconds, 1) + "%";
    if (!audio.paused) requestAnimationFrame(() => follow(audio));
  }
  for (const type of ["play", "seeked", "pause", "ended"]) {
    document.addEventListener(type, (event) => {
      if (event.target.tagName !== "AUDIO") return;
      if (type === "play") document.querySelectorAll("audio").forEach((other) => { if (other !== event.target) other.pause(); });
      follow(event.target);
    }, true);
  }

  // Paper shows what is folded in
  const opened = [];
  addEventListener("beforeprint", () => document.querySelectorAll("details:not([open])").forEach((part) => { part.open = true; opened.push(part); }));
  addEventListener("afterprint", () => opened.splice(0).forEach((part) => { part.open = false; }));

  fields.target.replaceChildren(...rows.targets.map((name) => new Option(name, name)));
  form.hidden = false;
  offer();
  apply();
  reveal();
})();
