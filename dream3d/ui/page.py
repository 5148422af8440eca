"""The page itself, in gradio: what is typed goes through `form`, is made by `jobs`, and is shown by `shown`."""

import os
import secrets
from pathlib import Path
from typing import Any

os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # before gradio is imported
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")

import gradio as gr  # noqa: E402
from starlette.middleware import Middleware  # noqa: E402

from dream3d import catalogue  # noqa: E402
from dream3d.errors import Mistake  # noqa: E402
from dream3d.export.formats import formats  # noqa: E402
from dream3d.folder import Folder  # noqa: E402
from dream3d.ui import form, shown  # noqa: E402
from dream3d.ui.guard import LOCAL, Guard  # noqa: E402
from dream3d.ui.jobs import Queue  # noqa: E402

FONTS = ["ui-sans-serif", "system-ui", "sans-serif"], ["ui-monospace", "Consolas", "monospace"]  # names alone: nothing is fetched
STYLE = ".going img, .going progress {width: 100%} pre {white-space: pre-wrap} .trouble {color: #b00020}"
PRIVATE: dict[str, Any] = {"api_visibility": "private"}


def blocks(queue: Queue, base: Path, recipe: str = "sds-gaussian") -> gr.Blocks:
    """The whole page, over the runs in `base`."""
    with gr.Blocks(title="dream3d", analytics_enabled=False, delete_cache=(3600, 3600)) as page:
        with gr.Tab("Make"), gr.Row():
            with gr.Column(scale=3):
                prompt = gr.Textbox(label="Prompt", value="a red car", max_length=form.LONGEST, elem_id="prompt")
                chosen = gr.Dropdown(catalogue.names("configs"), value=recipe, label="Recipe", elem_id="recipe")
                _settings(queue, base, prompt, chosen, gr.HTML(elem_id="trouble"))
            with gr.Column(scale=2):
                going = gr.HTML(elem_id="going")
                with gr.Row():
                    stop, again = gr.Button("Stop (it is saved)", elem_id="stop"), gr.Button("Continue", elem_id="continue")
                waiting, said = gr.HTML(elem_id="queue"), gr.HTML()
            stop.click(lambda: _stop(queue), outputs=said, **PRIVATE)
            again.click(lambda: _continue(queue), outputs=said, **PRIVATE)
        with gr.Tab("Runs") as past:
            _gallery(queue, base, past)
        last = gr.State("")
        gr.Timer(1.0).tick(lambda before: _now(queue, before), last, [going, waiting, last], show_progress="hidden", **PRIVATE)
        page.load(lambda: _now(queue, ""), None, [going, waiting, last], show_progress="hidden", **PRIVATE)
    return page


# --- making -------------------------------------------------------------------------------------------------------------------------


def _settings(queue: Queue, base: Path, prompt, chosen, trouble) -> None:
    form.fields(chosen.value)  # reads the schema, which is kept

    @gr.render(inputs=chosen)
    def settings(recipe: str):
        known, parts = form.fields(recipe), {}
        make = gr.Button("Make", variant="primary", elem_id="make")
        for section in dict.fromkeys(field.section for field in known):
            with gr.Accordion(section, open=section == "run"):
                parts |= {field.path: _component(field) for field in known if field.section == section}

        def start(text, *values):
            return _make(queue, base, recipe, text, dict(zip(parts, values, strict=True)))

        make.click(start, [prompt, *parts.values()], trouble, **PRIVATE)


def _component(field: form.Field):
    name = field.path.removeprefix(f"{field.section}.")
    match field.kind:
        case "switch":
            return gr.Checkbox(field.value, label=name)
        case "choice":
            return gr.Dropdown(list(field.choices), value=field.value, label=name)
        case "slider":
            step = 1 if field.whole else (field.high - field.low) / 1000
            return gr.Slider(field.low, field.high, value=field.value, step=step, label=name)
        case "number":
            return gr.Number(field.value, minimum=field.low, maximum=field.high, precision=0 if field.whole else None, label=name)
    return gr.Textbox(field.value, label=name, max_length=form.LONGEST)


def _make(queue: Queue, base: Path, recipe: str, prompt: str, given: dict[str, Any]) -> str:
    try:
        words = form.overrides(recipe, prompt, given)
        folder = place(base, form.checked(recipe, words))
        job = queue.add(prompt[:80], ["--config", recipe, *words, f"out={folder}", "--quiet"], folder)
    except Mistake as mistake:
        return shown.trouble(mistake)
    return shown.tag("p", f"Number {job.number} of the queue.")


def place(base: Path, found) -> Path:
    """Where a configuration runs: as on the command line, but below `base`."""
    return base / Folder.place(found).relative_to("runs")


def _stop(queue: Queue) -> str:
    job = queue.current()
    if job is None or job.ended:
        return shown.tag("p", "Nothing runs.")
    queue.stop(job.number)
    return shown.tag("p", f"Number {job.number} saves itself and stops.")


def _continue(queue: Queue) -> str:
    job = queue.current()
    if job is None or job.state not in ("stopped", "failed"):
        return shown.tag("p", "Nothing has been stopped.")
    return _resume(queue, job.title, job.folder)


def _resume(queue: Queue, title: str, folder: Path) -> str:
    try:
        job = queue.add(title, ["resume", str(folder), "--quiet"], folder)
    except Mistake as mistake:
        return shown.trouble(mistake)
    return shown.tag("p", f"Number {job.number} of the queue.")


def _now(queue: Queue, before: str):
    going, waiting = shown.progress(queue.current()), shown.queue(queue.listed())
    now = f"{going}{waiting}"
    return (gr.skip(),) * 3 if now == before else (going, waiting, now)


# --- past runs ----------------------------------------------------------------------------------------------------------------------


def _gallery(queue: Queue, base: Path, past) -> None:
    names, name = gr.State([]), gr.State("")
    pictures = gr.Gallery(label="Past runs", columns=6, height=260, object_fit="contain", interactive=False,
                          allow_preview=False, fit_columns=False, buttons=[], elem_id="gallery")  # fmt: skip
    facts = gr.HTML(elem_id="facts")
    with gr.Row():
        model = gr.Model3D(label="Asset", interactive=False, height=400, elem_id="model")
        video = gr.Video(label="Turntable", interactive=False, loop=True, height=400, buttons=[])
    files = gr.Files(label="Files", interactive=False, elem_id="files")
    with gr.Row():
        kind = gr.Dropdown(sorted(formats()), value="glb", label="Format", elem_id="format")
        write, again = gr.Button("Write this format", elem_id="write"), gr.Button("Continue this run")
        look = gr.Button("Look again", elem_id="look")
    said = gr.HTML(elem_id="said")

    def listed():
        found = [run for run in shown.runs(base) if run.thumbnail is not None]
        return [(str(run.thumbnail), shown.caption(run)) for run in found], [run.name for run in found]

    def choose(known, event: gr.SelectData):
        index = event.index if isinstance(event.index, int) else -1
        return (known[index] if 0 <= index < len(known) else "", *_details(base, known[index] if 0 <= index < len(known) else ""))

    past.select(listed, None, [pictures, names], **PRIVATE)
    pictures.select(choose, names, [name, facts, model, video, files], **PRIVATE)
    look.click(listed, None, [pictures, names], **PRIVATE)
    look.click(lambda chosen: _details(base, chosen), name, [facts, model, video, files], **PRIVATE)
    write.click(lambda chosen, wanted: _write(queue, base, chosen, wanted), [name, kind], said, **PRIVATE)
    again.click(lambda chosen: _again(queue, base, chosen), name, said, **PRIVATE)


def _details(base: Path, name: str):
    try:
        run = shown.find(base, name)
    except Mistake as mistake:
        return shown.trouble(mistake), None, None, None
    video = next((str(path) for path in run.files if path.name == "turntable.mp4"), None)
    return shown.facts(run), str(run.model) if run.model else None, video, [str(path) for path in run.files]


def _write(queue: Queue, base: Path, name: str, wanted: str) -> str:
    try:
        run = shown.find(base, name)
        if wanted not in formats():
            raise Mistake("there is no such format", where="page")
        job = queue.add(f"{run.prompt[:60]} as {wanted}", ["export", str(run.path), "--format", wanted, "--quiet"], run.path)
    except Mistake as mistake:
        return shown.trouble(mistake)
    return shown.tag("p", f"Number {job.number} of the queue; then look again.")


def _again(queue: Queue, base: Path, name: str) -> str:
    try:
        run = shown.find(base, name)
    except Mistake as mistake:
        return shown.trouble(mistake)
    return _resume(queue, run.prompt[:80], run.path)


# --- serving ------------------------------------------------------------------------------------------------------------------------


def serve(base: Path, *, host: str | None, port: int, password: str | None, browser: bool = False, block: bool = True):
    """Serve on 127.0.0.1, or on `host` behind a password, until interrupted; what runs then is saved. Of files only copies of what the page
    has shown are served. `base` lies below the current folder. Without `block`, returns (address, close)."""
    base.mkdir(parents=True, exist_ok=True)
    base, queue = base.resolve(), Queue()
    page = blocks(queue, base)
    guard = Middleware(Guard, hosts=LOCAL if host is None else None)
    auth = None if password is None else lambda user, given: secrets.compare_digest(given.encode(), password.encode())
    theme = gr.themes.Default(font=FONTS[0], font_mono=FONTS[1])
    try:
        _, address, _ = page.launch(
            server_name=host or LOCAL[0], server_port=port, share=False, auth=auth, auth_message="Any name, and the password.",
            inbrowser=browser, quiet=True, prevent_thread_lock=True, footer_links=[], run_history=False, ssr_mode=False, pwa=False,
            mcp_server=False, enable_monitoring=False, allowed_paths=[], max_file_size="1kb", show_error=False,
            app_kwargs={"middleware": [guard], "docs_url": None, "redoc_url": None, "openapi_url": None},
            theme=theme, css=STYLE)  # fmt: skip
    except OSError as error:
        queue.close()
        raise Mistake(f"the page cannot be served: {error}", where=f"port {port}", fix=f"--port {port + 1}") from None

    def close() -> None:
        queue.close()
        page.close(verbose=False)

    if not block:
        return address, close
    print(address, flush=True)
    try:
        page.block_thread()
    finally:
        close()
    return address, close
