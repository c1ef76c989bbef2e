"""The rendering child: reads jobs from stdin, writes replies to stdout, dies of excess.

Started as `python -m services.delivery.render.child MEMORY_BYTES OUTPUT_BYTES PARENT`. It holds no
secret, opens nothing, and is killed by its own timer when a turn uses too much of a processor: a
handler in Python would not run while C code works.
"""

import ctypes
import gc
import os
import resource
import signal
import sys
from time import perf_counter_ns
from typing import Any, BinaryIO

import msgspec
from jinja2 import Template, TemplateSyntaxError, nodes
from jinja2.exceptions import SecurityError, TemplateError, UndefinedError
from jinja2.runtime import Context

from services.delivery.render import sandbox
from services.delivery.render.wire import (
    OUT_OF_MEMORY,
    Fault,
    Finding,
    Job,
    Rendered,
    Reply,
    Texts,
    Work,
)

_PR_SET_PDEATHSIG = 1
_EMAIL = 1
_WEBHOOK = 2
_HEAD = 4

_decode_job = msgspec.msgpack.Decoder(Job).decode
_encode = msgspec.msgpack.Encoder().encode
_decode_data = msgspec.json.Decoder(dict[str, Any]).decode
_check_json = msgspec.json.Decoder().decode


class _Part:
    """One compiled text."""

    def __init__(self, environment: sandbox.Environment, text: str) -> None:
        self._environment = environment
        self._text = text
        self._template: Template = environment.from_string(text)
        self._root = self._template.root_render_func
        self._globals = self._template.globals

    def render(self, data: dict[str, Any]) -> str:
        # What Template.render does, without its rewriting of tracebacks: 4 µs of 14.
        context = Context(self._environment, {**self._globals, **data}, None, self._template.blocks)
        return "".join(self._root(context))

    def paths(self) -> list[str]:
        return sandbox.paths_in(self._environment.parse(self._text))


class _Compiled:
    """One template, ready."""

    def __init__(self, texts: Texts) -> None:
        self.subject = _Part(_PLAIN, texts.subject) if texts.subject else None
        self.text = _Part(_PLAIN, texts.text) if texts.text else None
        self.html = _Part(_HTML, texts.html) if texts.html else None
        self.body = _Part(_PLAIN, texts.body) if texts.body else None
        defaults: dict[str, Any] = _check_json(texts.defaults_json)
        self.defaults = [(path.split("."), value) for path, value in defaults.items()]

    def parts(self, channel: int) -> list[_Part]:
        """Return the parts that a channel needs."""
        mail = [] if channel == _WEBHOOK else [self.subject, self.text, self.html]
        hook = [] if channel == _EMAIL else [self.body]
        return [part for part in (*mail, *hook) if part is not None]


_PLAIN = sandbox.make(html=False)
_HTML = sandbox.make(html=True)


class _Child:
    def __init__(self, output_bytes_max: int) -> None:
        self._output_bytes_max = output_bytes_max
        self._texts: dict[str, Texts] = {}
        self._compiled: dict[str, _Compiled | Rendered] = {}

    def turn(self, job: Job) -> Reply:
        begun = perf_counter_ns()
        if job.lint:
            findings = [found for texts in job.texts.values() for found in _lint(texts)]
            return Reply([], findings)
        if job.forget:
            self._texts.clear()
            self._compiled.clear()
        self._texts.update(job.texts)
        rendered = [self._render(work) for work in job.works]
        return Reply(rendered, [], perf_counter_ns() - begun)

    def _render(self, work: Work) -> Rendered:
        compiled = self._compiled.get(work.template)
        if compiled is None:
            compiled = self._compiled[work.template] = self._compile(work.template)
        if isinstance(compiled, Rendered):
            return compiled
        try:
            data = _decode_data(work.data)
        except (msgspec.DecodeError, RecursionError):
            return Rendered(fault=Fault.DATA_INVALID)
        data["campaign"] = sandbox.Ref(work.campaign)
        data["delivery"] = sandbox.Ref(work.delivery)
        for path, value in compiled.defaults:
            _default(data, path, value)
        try:
            rendered = _fill(compiled, work.channel, data)
        except UndefinedError:
            return Rendered(
                fault=Fault.DATA_MISSING, detail=_missing(compiled.parts(work.channel), data)
            )
        except (MemoryError, sandbox.TooCostly, OverflowError):
            return Rendered(fault=Fault.TEMPLATE_TOO_COSTLY)
        except SecurityError:
            return Rendered(fault=Fault.TEMPLATE_INVALID, detail="reaches for more than data")
        except Exception as error:  # noqa: BLE001 — a template can raise anything
            # `items|length` without items meets the method of that name.
            missing = (
                _missing(compiled.parts(work.channel), data) if isinstance(error, TypeError) else ""
            )
            if missing:
                return Rendered(fault=Fault.DATA_MISSING, detail=missing)
            return Rendered(fault=Fault.RENDER_FAILED, detail=type(error).__name__)
        return self._checked(rendered)

    def _compile(self, key: str) -> _Compiled | Rendered:
        try:
            return _Compiled(self._texts[key])
        except (MemoryError, RecursionError):
            return Rendered(fault=Fault.TEMPLATE_TOO_COSTLY)
        except Exception as error:  # noqa: BLE001 — a template can raise anything
            return Rendered(fault=Fault.TEMPLATE_INVALID, detail=type(error).__name__)

    def _checked(self, rendered: Rendered) -> Rendered:
        parts = (rendered.subject, rendered.text, rendered.html, rendered.body)
        try:
            "".join(parts).encode()
        except UnicodeEncodeError:
            # Half a surrogate pair, which a template can write and no wire can carry.
            return Rendered(fault=Fault.DATA_INVALID, detail="not a character")
        longest = max(map(len, parts))
        # A character is up to four bytes; only what may be too long is encoded to see.
        if longest * 4 > self._output_bytes_max:
            for part in parts:
                size = len(part.encode())
                if size > self._output_bytes_max:
                    return Rendered(
                        fault=Fault.TOO_LARGE, detail=f"{size} of {self._output_bytes_max}"
                    )
        if rendered.body:
            try:
                _check_json(rendered.body)
            except (msgspec.DecodeError, RecursionError):
                return Rendered(fault=Fault.BODY_NOT_JSON)
        return rendered


def _fill(compiled: _Compiled, channel: int, data: dict[str, Any]) -> Rendered:
    rendered = Rendered()
    if channel != _WEBHOOK and compiled.text is not None and compiled.subject is not None:
        # A line break would begin another header.
        rendered.subject = " ".join(compiled.subject.render(data).split())
        rendered.text = compiled.text.render(data)
        if compiled.html is not None:
            rendered.html = compiled.html.render(data)
    if channel != _EMAIL and compiled.body is not None:
        rendered.body = compiled.body.render(data)
    return rendered


def _default(data: dict[str, Any], path: list[str], value: Any) -> None:
    *parents, last = path
    for step in parents:
        inner = data.get(step)
        if inner is None:
            inner = data[step] = {}
        elif not isinstance(inner, dict):
            return
        data = inner
    if data.get(last) is None:
        data[last] = value


def _missing(parts: list[_Part], data: dict[str, Any]) -> str:
    """Return the paths that the template reads and the data lacks, as defaults would name them."""
    lacking = sorted(
        {path for part in parts for path in part.paths() if not sandbox.resolves(data, path)}
    )
    return ", ".join(
        path for path in lacking if not any(other.startswith(f"{path}.") for other in lacking)
    )[:500]


_PARTS = (
    ("email.subject", "subject", _PLAIN),
    ("email.text", "text", _PLAIN),
    ("email.html", "html", _HTML),
    ("webhook.body", "body", _PLAIN),
)


def _lint(texts: Texts) -> list[Finding]:
    findings = []
    for name, field, environment in _PARTS:
        text: str = getattr(texts, field)
        if text:
            findings += _lint_part(name, text, environment)
    return findings


def _lint_part(name: str, text: str, environment: sandbox.Environment) -> list[Finding]:
    try:
        tree = environment.parse(text)
        findings = _read(name, tree, environment)
        if findings:
            return findings
        part = _Part(environment, text)
    except TemplateSyntaxError as error:
        return [Finding(name, error.lineno, error.message or "does not compile")]
    except (MemoryError, RecursionError):
        return [Finding(name, 1, "takes too much to compile", [], costly=True)]
    try:
        written = part.render(dict.fromkeys(sandbox.ROOTS, sandbox.Sample()))
    except (MemoryError, sandbox.TooCostly, OverflowError):
        return [Finding(name, 1, "takes too much to render", [], costly=True)]
    except SecurityError:
        return [Finding(name, 1, "reaches for more than data")]
    except Exception:  # noqa: BLE001 — a sample is not the data; only cost is judged by it
        return []
    if field_is_json(name):
        try:
            _check_json(written)
        except (msgspec.DecodeError, RecursionError):
            return [Finding(name, 1, "does not render to JSON; write values with |tojson")]
    return []


def field_is_json(name: str) -> bool:
    """Say whether a part must render to JSON."""
    return name == "webhook.body"


def _read(name: str, tree: nodes.Template, environment: sandbox.Environment) -> list[Finding]:
    findings = [
        Finding(name, outside.lineno, "templates stand alone")
        for outside in tree.find_all((nodes.Include, nodes.Import, nodes.FromImport, nodes.Extends))
    ]
    for used in tree.find_all((nodes.Filter, nodes.Test)):
        known = environment.filters if isinstance(used, nodes.Filter) else environment.tests
        if used.name not in known:
            kind = type(used).__name__.lower()
            findings.append(Finding(name, used.lineno, f"there is no {kind} {used.name}"))
    findings += _unknown_roots(name, tree, environment)
    return findings


def _unknown_roots(
    name: str, tree: nodes.Template, environment: sandbox.Environment
) -> list[Finding]:
    from jinja2 import meta  # noqa: PLC0415 — only a child that lints needs it

    try:
        undeclared = meta.find_undeclared_variables(tree)
    except TemplateSyntaxError:
        # An unknown filter, which has a finding of its own.
        return []
    unknown = undeclared - sandbox.ROOTS - set(environment.globals)
    findings = []
    for variable in sorted(unknown):
        line = next((n.lineno for n in tree.find_all(nodes.Name) if n.name == variable), 1)
        findings.append(
            Finding(
                name,
                line,
                f"{variable} is unknown; there are event, profile, digest, campaign and delivery",
                [variable],
            )
        )
    return findings


def main(memory_bytes: int, output_bytes_max: int, parent: int) -> None:
    """Serve jobs until the parent closes the pipe or dies."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        return
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGPROF, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_AS, (memory_bytes, memory_bytes))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (16, 16))
    child = _Child(output_bytes_max)
    # What is loaded stays; garbage of a turn has no cycles worth looking for all the time.
    gc.freeze()
    read, write = sys.stdin.buffer, sys.stdout.buffer
    while (job := _read_job(read)) is not None:
        signal.setitimer(signal.ITIMER_PROF, job.cpu_seconds)
        reply = _encode(child.turn(job))
        signal.setitimer(signal.ITIMER_PROF, 0)
        write.write(len(reply).to_bytes(_HEAD, "big"))
        write.write(reply)
        write.flush()


def _read_job(pipe: BinaryIO) -> Job | None:
    head = pipe.read(_HEAD)
    if len(head) < _HEAD:
        return None
    return _decode_job(pipe.read(int.from_bytes(head, "big")))


if __name__ == "__main__":
    try:
        main(*map(int, sys.argv[1:]))
    except (MemoryError, TemplateError):
        # The next child begins afresh.
        os._exit(OUT_OF_MEMORY)
