// The answers of a run: filtered by part and by whether they are right, each with its picture.

import { imageSource } from "./ask.js";
import { choices, count, make, percent } from "./dom.js";

const ANSWERS_TOGETHER = 60;
const NO_ATTENTION =
  "Run the same `regiontok answer` with --attention --resume to see here what each word looked at.";
const lists = new Map(); // by run, what was chosen and found last
const MOST_PARTS = 60; // values of a group that is offered as a filter; more are questions' own

/** The page of one run of answers. */
export class AnswersPage {
  constructor(item) {
    this.item = item;
    Object.assign(this, lists.get(item.number)?.chosen ?? { which: "wrong", part: "", words: "" });
    const { head } = item;
    this.list = make("ul", { class: "answers" });
    this.said = make("p", { class: "found", "aria-live": "polite" });
    this.end = make("div", { class: "end", "aria-hidden": "true" });
    const about = [
      head.bench,
      head.model,
      head.regions,
      item.damaged ? `${item.damaged} lines cannot be read` : "",
    ];
    this.element = make(
      "div",
      {},
      make("h1", {}, item.run),
      make("p", { class: "about" }, about.filter(Boolean).join(" · ")),
      make(
        "div",
        { class: "filters" },
        choices(
          "Answers",
          [
            ["wrong", "Wrong"],
            ["right", "Right"],
            ["open", "Not judged"],
            ["all", "All"],
          ],
          this.which,
          (which) => {
            this.which = which;
            this.fill();
          },
        ),
        this.partChoice(),
        make("input", {
          type: "search",
          value: this.words,
          placeholder: "Words in question or reply",
          "aria-label": "Words in question or reply",
          oninput: (event) => {
            this.words = event.target.value.toLowerCase();
            this.fill();
          },
        }),
      ),
      this.said,
      item.answers.some((answer) => answer.attended)
        ? null
        : make("p", { class: "small" }, NO_ATTENTION),
      this.list,
      this.end,
    );
    this.watch = new IntersectionObserver(
      (seen) => {
        if (seen.some((one) => one.isIntersecting)) this.more();
      },
      { rootMargin: "600px" },
    );
    this.watch.observe(this.end);
    this.fill();
    document.documentElement.dataset.ready = "true";
  }

  /** A choice of the parts of the benchmark, with how much of each is right. */
  partChoice() {
    const groups = new Map();
    for (const answer of this.item.answers) {
      for (const [group, value] of Object.entries(answer.parts)) {
        const key = `${group}: ${value}`;
        const found = groups.get(group) ?? groups.set(group, new Map()).get(group);
        const marks = found.get(key) ?? found.set(key, { right: 0, judged: 0, all: 0 }).get(key);
        marks.all += 1;
        if (answer.right !== null)
          [marks.right, marks.judged] = [marks.right + answer.right, marks.judged + 1];
      }
    }
    const options = [...groups.values()]
      .filter((parts) => parts.size <= MOST_PARTS)
      .flatMap((parts) => [...parts]);
    return make(
      "label",
      { class: "part" },
      "Part ",
      make(
        "select",
        {
          onchange: (event) => {
            this.part = event.target.value;
            this.fill();
          },
        },
        make("option", { value: "" }, "all parts"),
        options.map(([key, { right, judged, all }]) =>
          make(
            "option",
            { value: key, selected: key === this.part },
            judged ? `${key} (${percent(right / judged)} of ${all} right)` : `${key} (${all})`,
          ),
        ),
      ),
    );
  }

  fill() {
    const keep = {
      wrong: (right) => right !== null && right < 1,
      right: (right) => right === 1,
      open: (right) => right === null,
      all: () => true,
    }[this.which];
    const rows = this.item.answers
      .map((answer, number) => ({ ...answer, number }))
      .filter((answer) => this.inPart(answer));
    this.shown = rows.filter((answer) => keep(answer.right));
    const judged = rows.filter((answer) => answer.right !== null);
    const right = judged.reduce((sum, answer) => sum + answer.right, 0);
    const share = judged.length ? ` · ${percent(right / judged.length)} right` : "";
    this.said.textContent = `${count(this.shown.length)} of ${count(rows.length)} answers${share}`;
    const { which, part, words } = this;
    const numbers = this.shown.filter((one) => one.attended).map((one) => one.number);
    lists.set(this.item.number, { chosen: { which, part, words }, numbers });
    this.list.replaceChildren();
    this.next = 0;
    this.more();
  }

  inPart(answer) {
    const inPart =
      !this.part ||
      Object.entries(answer.parts).some(([group, value]) => `${group}: ${value}` === this.part);
    return (
      inPart &&
      (!this.words || `${answer.question} ${answer.reply}`.toLowerCase().includes(this.words))
    );
  }

  more() {
    const some = this.shown.slice(this.next, this.next + ANSWERS_TOGETHER);
    this.next += some.length;
    this.list.append(...some.map((answer) => this.card(answer)));
  }

  card(answer) {
    const href = answer.attended ? `#item/${this.item.number}/${answer.number}` : null;
    const picture = answer.pictured
      ? make("img", {
          loading: "lazy",
          decoding: "async",
          alt: "the picture of the question",
          src: imageSource(`items/${this.item.number}/answers/${answer.number}/image/0`),
          onerror: (event) => event.target.remove(),
        })
      : null;
    const options = answer.options.map((text, i) =>
      make("li", {}, `${String.fromCharCode(65 + i)}. ${text}`),
    );
    return make(
      "li",
      { class: href ? "answer attended" : "answer" },
      make("div", { class: "answer-picture" }, picture),
      make(
        "div",
        {},
        make(
          "p",
          { class: "question" },
          href ? make("a", { href }, answer.question) : answer.question,
        ),
        options.length ? make("ul", { class: "options" }, options) : null,
        make(
          "p",
          { class: "reply" },
          badge(answer),
          " ",
          answer.error || answer.reply || "(nothing)",
        ),
        make("p", { class: "expected" }, "expected: ", answer.expected.join(" or ")),
        make(
          "p",
          { class: "small" },
          [
            answer.id,
            ...Object.values(answer.parts),
            answer.tokens.length ? `${answer.tokens.join(" + ")} visual tokens` : "",
          ]
            .filter(Boolean)
            .join(" · "),
        ),
        href ? make("p", { class: "small" }, "What each word looked at ›") : null,
      ),
    );
  }

  close() {
    this.watch.disconnect();
    delete document.documentElement.dataset.ready;
  }
}

/** A badge that says whether an answer is right. */
export function badge({ right, error }) {
  const [kind, text] =
    right === null
      ? ["open", error ? "no answer" : "not judged"]
      : right === 1
        ? ["right", "right"]
        : right > 0
          ? ["part", `${percent(right)} right`]
          : ["wrong", "wrong"];
  return make("span", { class: `mark-${kind} badge` }, text);
}

/** The answers before and behind one in the list that was chosen last, as numbers. */
export function answersBeside(item, number) {
  const attended = item.answers.flatMap((answer, i) => (answer.attended ? [i] : []));
  const listed = lists.get(item.number)?.numbers ?? attended;
  return listed.includes(number) ? listed : attended;
}
