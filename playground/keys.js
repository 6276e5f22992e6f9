() => {
  // The vote's keys: 1, 2, 3 ... the best arm, = a tie, 0 all bad. They stay out of text fields and of shortcuts.
  const buttonFor = (key) => (/^[0-9]$/.test(key) ? `vote-${key}` : key === "=" ? "vote-tie" : null);
  const isTyping = (element) =>
    Boolean(element?.closest?.("input:not([type=checkbox]), textarea, select, [contenteditable=true], [role=listbox]"));

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || isTyping(event.target)) return;
    const id = buttonFor(event.key);
    const button = id && document.getElementById(id);
    if (!button || button.disabled || !button.offsetParent) return; // a button of a tab that is not on show stays alone
    event.preventDefault();
    button.click();
  });

  // One polite live region for the whole page, in place before anything is said in it.
  const announce = () => {
    const region = document.querySelector("#announcement .html-container");
    if (!region) return void setTimeout(announce, 100);
    region.setAttribute("role", "status");
    region.setAttribute("aria-live", "polite");
  };
  announce();
};
