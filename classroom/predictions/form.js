// A question with radio buttons. The answer is committed once; the feedback is the kernel's to send.

let forms = 0;

function make(tag, parent, properties = {}) {
  const element = Object.assign(document.createElement(tag), properties);
  parent.append(element);
  return element;
}

function render({ model, el }) {
  const name = `prediction-${Date.now()}-${(forms += 1)}`;
  const form = make("form", el, { className: "prediction" });
  const fields = make("fieldset", form);
  make("legend", fields, { textContent: `Predict: ${model.get("question")}` });
  const labels = model.get("options").map((text, index) => {
    const label = make("label", fields);
    make("input", label, { type: "radio", name, value: String(index), required: true });
    make("span", label, { textContent: text });
    return label;
  });
  const commit = make("button", fields, { type: "submit", textContent: "That is my prediction" });
  const status = make("p", form, { className: "prediction-status" });
  status.setAttribute("role", "status");

  const cells = model.get("cells");
  const noted = `Noted. Now run the next ${cells > 1 ? `${cells} cells` : "cell"}.`;
  const show = () => {
    const chosen = model.get("chosen");
    const feedback = model.get("feedback");
    fields.disabled = chosen >= 0;
    commit.hidden = chosen >= 0;
    labels.forEach((label, index) => {
      label.classList.toggle("chosen", index === chosen);
      if (index === chosen) label.firstChild.checked = true;
    });
    form.classList.toggle("right", Boolean(feedback) && model.get("right"));
    form.classList.toggle("wrong", Boolean(feedback) && !model.get("right"));
    if (feedback) status.textContent = `${model.get("right") ? "✔ As you said." : "✖ Not so."} ${feedback}`;
    else status.textContent = chosen >= 0 ? noted : "";
  };

  const tell = (what) => {
    model.set(what, labels.findIndex((label) => label.firstChild.checked));
    model.save_changes();
  };
  form.addEventListener("change", () => tell("picked")); // whoever runs the cell now means it
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    tell("chosen");
  });
  // JupyterLab has shortcuts of its own for keys that belong to the radio buttons here.
  form.addEventListener("keydown", (event) => event.stopPropagation());
  model.on("change:chosen change:feedback change:right", show);
  show();
  return () => model.off("change:chosen change:feedback change:right", show);
}

export default { render };
