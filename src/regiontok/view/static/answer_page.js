// One answer: its words, and what each looked at on the picture of the question.

import { imageSource } from "./ask.js";
import { badge } from "./answers_page.js";
import { choices, make } from "./dom.js";
import { Looked, wordButtons } from "./looked.js";
import { PhotoPage } from "./photo_page.js";

const NO_PICTURE = "The picture is not known: name ";

/**
 * The page of one answer of a run, or of a saved conversation. `sources` are the addresses of the
 * pictures of its question, null where one is not known; `missing` says what is to be named then.
 */
export class AnswerPage {
  constructor({ back, answer, attention, sources, missing }) {
    Object.assign(this, { answer, sources, looked: new Looked(attention), photo: null });
    this.said = make("div", {});
    this.stage = make("div", {});
    const options = answer.options.map((text, i) =>
      make("li", {}, `${String.fromCharCode(65 + i)}. ${text}`),
    );
    const { pictures } = this.looked;
    const isKnown = pictures.every((_, place) => sources(place));
    const asked = make(
      "div",
      {},
      make("p", { class: "about" }, make("a", { href: back }, "‹ all answers")),
      make("p", { class: "question" }, answer.question),
      options.length ? make("ul", { class: "options" }, options) : null,
      this.said,
      answer.expected.length
        ? make("p", { class: "expected" }, "expected: ", answer.expected.join(" or "))
        : null,
      isKnown ? null : make("p", { class: "notice" }, `${NO_PICTURE}${missing}.`),
      pictures.length > 1
        ? choices(
            "Picture",
            pictures.map((_, i) => [String(i), String(i + 1)]),
            "0",
            (place) => this.show(Number(place)),
          )
        : null,
    );
    this.element = make("div", { class: "one-answer" }, asked, this.stage);
    if (pictures.length) this.show(0);
    else this.showWithoutRegions();
  }

  /** Show one of the question's pictures with what the words looked at in it. */
  show(place) {
    this.photo?.close();
    const picture = this.looked.pictures[place];
    const { prompt, reply } = this.answer;
    const item = {
      kind: "answer",
      source: this.sources(place),
      size: picture.views[0].frame.image,
      panels: [],
      reads: { after: `${prompt} ASSISTANT: ${reply}` },
    };
    this.photo = new PhotoPage(item, null, picture);
    const { words, hint } = wordButtons(this.looked, picture, (row) =>
      this.photo.showAttention(picture, row),
    );
    this.say(words);
    this.said.append(hint);
    this.stage.replaceChildren(this.photo.element);
  }

  say(words) {
    const mark = this.answer.right === undefined ? [] : [badge(this.answer), " "];
    this.said.replaceChildren(make("p", { class: "reply" }, ...mark, words));
  }

  showWithoutRegions() {
    this.say([this.answer.reply || "(nothing)"]);
    this.said.append(
      make("p", { class: "notice" }, "This answer has no word that looked at regions."),
    );
    const source = this.sources(0);
    if (source) {
      const alt = "the picture of the question";
      this.stage.append(make("img", { class: "plain", src: imageSource(source), alt }));
    }
    document.documentElement.dataset.ready = "true";
  }

  close() {
    this.photo?.close();
    delete document.documentElement.dataset.ready;
  }
}
