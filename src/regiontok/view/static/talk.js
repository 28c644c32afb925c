// Conversations: those that were saved, and a live one about the photo that is shown.

import { reached } from "./ask.js";
import { make, percent } from "./dom.js";
import { Looked, wordButtons } from "./looked.js";

/** The page of a saved conversation. */
export class TalkPage {
  constructor(item) {
    this.element = make(
      "div",
      { class: "talk" },
      make("h1", {}, item.name),
      item.turns.map((turn, place) => savedTurn(turn, `#item/${item.number}/${place}`)),
    );
    document.documentElement.dataset.ready = "true";
  }

  close() {
    delete document.documentElement.dataset.ready;
  }
}

/** The turns of which each word's attention was saved, by number. */
export function turnsWithWords(item) {
  return item.turns.flatMap((turn, place) => (turn.looked?.words.length ? [place] : []));
}

/** A turn as the page of one answer takes it. */
export function turnAnswer(item, place) {
  const { question, answer, looked, photos } = item.turns[place];
  return {
    answer: { question, reply: answer, prompt: question, options: [], expected: [] },
    attention: looked,
    sources: (picture) =>
      (photos[picture] ?? null) === null ? null : `items/${photos[picture]}/image/0`,
    missing: "the photo beside the conversation",
  };
}

function savedTurn(turn, href) {
  const looked = turn.attention.map((picture) =>
    make(
      "p",
      { class: "small" },
      `${picture.image}: ${percent(picture.visual)} of the attention; most on `,
      picture.regions
        .map((region) => `region ${region.region} (${percent(region.share)})`)
        .join(", "),
    ),
  );
  return make(
    "div",
    { class: "turn" },
    make("p", { class: "asked" }, turn.question),
    make("p", { class: "answered" }, turn.answer + (turn.stopped ? " [stopped]" : "")),
    looked,
    turn.looked?.words.length
      ? make("p", { class: "small" }, make("a", { href }, "What each word looked at ›"))
      : null,
  );
}

/** A live conversation about one photo; a word shows what it looked at. */
export class Talking {
  constructor(number) {
    Object.assign(this, { number, page: null, talk: crypto.randomUUID() });
    this.turns = make("div", { class: "turns", "aria-live": "polite" });
    this.field = make("input", {
      type: "text",
      id: "question",
      "aria-label": "Question about the photo",
      placeholder: "Ask about the photo",
      autocomplete: "off",
      required: true,
    });
    this.button = make("button", { type: "submit" }, "Ask");
    this.form = make(
      "form",
      {
        class: "ask",
        onsubmit: (event) => {
          event.preventDefault();
          this.send();
        },
      },
      this.field,
      this.button,
    );
    this.element = make(
      "section",
      { class: "talk", "aria-label": "Chat" },
      make("h3", {}, "Ask the model"),
      this.turns,
      this.form,
    );
  }

  async send() {
    if (this.asking) return this.asking.abort();
    const question = this.field.value.trim();
    if (!question) return;
    const said = make("p", { class: "answered waiting-words" }, "…");
    this.turns.append(
      make("div", { class: "turn" }, make("p", { class: "asked" }, question), said),
    );
    this.field.value = "";
    this.asking = new AbortController();
    this.button.textContent = "Stop";
    try {
      await this.read(question, said);
    } catch (error) {
      said.textContent =
        error.name === "AbortError" ? `${said.textContent} [stopped]` : error.message;
    }
    said.classList.remove("waiting-words");
    this.asking = null;
    this.button.textContent = "Ask";
    this.field.focus();
  }

  /** Read the answer line by line: pieces of text, then words with what they looked at. */
  async read(question, said) {
    const response = await reached("/api/talk", {
      method: "POST",
      signal: this.asking.signal,
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ item: this.number, talk: this.talk, question }),
    });
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let [rest, text] = ["", ""];
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      const lines = (rest + value).split("\n");
      rest = lines.pop();
      for (const line of lines.map((one) => JSON.parse(one))) {
        if (line.error) throw new Error(line.error);
        if (line.piece) said.textContent = text += line.piece;
        if (line.words) this.showWords(line, said);
      }
    }
  }

  /** The words of an answer as buttons: each paints the photo by what it looked at. */
  showWords(line, said) {
    const looked = new Looked(line);
    const [picture] = looked.pictures;
    if (!picture) return;
    const { words, hint } = wordButtons(looked, picture, (row) =>
      this.page?.showAttention(picture, row),
    );
    said.replaceChildren(...words);
    said.after(hint);
  }
}
