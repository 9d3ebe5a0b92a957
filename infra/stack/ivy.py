"""Downloading Java modules with the Ivy that pyspark ships, so that nothing but pip packages is needed."""

import importlib.util
import os
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import quoteattr

from infra.base.errors import SmartmeterError
from infra.stack.java import java_binary

STALLED_AFTER_S = 180.0
ADVICE = "check the network and run it again, or name an Ivy settings file with your mirror in SMARTMETER_IVY_SETTINGS"
RETRIEVED = "[organisation]/[module]/[artifact]-[revision](-[classifier]).[ext]"


@dataclass(frozen=True, order=True)
class Module:
    """One published artifact, written `organisation:name:revision` or `organisation:name:revision:classifier@ext`."""

    organisation: str
    name: str
    revision: str
    classifier: str = ""
    ext: str = "jar"

    @classmethod
    def parse(cls, text: str) -> "Module":
        """The module that `str()` writes as `text`; raises ValueError for anything else."""
        organisation, name, revision, *rest = text.split(":")
        if not rest:
            return cls(organisation, name, revision)
        classifier, _, ext = rest[0].partition("@")
        return cls(organisation, name, revision, classifier, ext)

    def __str__(self) -> str:
        special = f":{self.classifier}@{self.ext}" if self.classifier else ""
        return f"{self.organisation}:{self.name}:{self.revision}{special}"

    @property
    def file_name(self) -> str:
        classifier = f"-{self.classifier}" if self.classifier else ""
        return f"{self.name}-{self.revision}{classifier}.{self.ext}"

    @property
    def retrieved_path(self) -> Path:
        """Where `retrieve` puts the file, below its target folder."""
        return Path(self.organisation) / self.name / self.file_name


def pyspark_jars() -> Path:
    """The folder of the jars that the pyspark wheel ships."""
    spec = importlib.util.find_spec("pyspark")
    if spec is None or spec.origin is None:
        raise SmartmeterError("pyspark is not installed in this environment: run `pip install -e .` in the repository")
    return Path(spec.origin).parent / "jars"


def ivy_xml(modules: Iterable[Module], transitive: bool) -> str:
    """An Ivy file that asks for `modules`, with everything that they need at run time when `transitive`.

    No artifact type is named unless a classifier calls for it: asking for type `jar` would drop the jars that are
    published as `bundle`, and Kafka does not start without them.
    """
    dependencies = []
    for module in modules:
        head = (
            f"<dependency org={quoteattr(module.organisation)} name={quoteattr(module.name)}"
            f' rev={quoteattr(module.revision)} conf="default" transitive="{str(transitive).lower()}"'
        )
        ext = quoteattr(module.ext)
        artifact = f"<artifact name={quoteattr(module.name)} type={ext} ext={ext}"
        artifact += f" m:classifier={quoteattr(module.classifier)}/>"
        dependencies.append(f"{head}>{artifact}</dependency>" if module.classifier else f"{head}/>")
    return (
        '<ivy-module version="2.0" xmlns:m="http://ant.apache.org/ivy/maven">\n'
        '<info organisation="smartmeter" module="jars"/>\n'
        '<configurations defaultconfmapping="default->default"><conf name="default"/></configurations>\n'
        "<dependencies>\n" + "\n".join(dependencies) + "\n</dependencies>\n</ivy-module>\n"
    )


def retrieve(modules: Iterable[Module], work: Path, transitive: bool, progress: Callable[[int], None]) -> Path:
    """Download `modules` below `work`, an empty folder, and return the folder of files (see `Module.retrieved_path`).

    `progress` is called several times a second with the bytes on disk so far. SMARTMETER_IVY_SETTINGS may name an Ivy
    settings file, for a network that reaches the modules through a mirror. Raises SmartmeterError with the end of
    Ivy's output when it fails or when nothing arrives for STALLED_AFTER_S seconds.
    """
    [ivy] = pyspark_jars().glob("ivy-*.jar")
    (work / "ivy.xml").write_text(ivy_xml(modules, transitive))
    command: list[str | Path] = [java_binary(17), f"-Divy.default.ivy.user.dir={work / 'user'}", "-jar", ivy]
    command += ["-ivy", work / "ivy.xml", "-cache", work / "cache", "-confs", "default"]
    command += ["-retrieve", f"{work / 'files'}/{RETRIEVED}"]
    if settings := os.environ.get("SMARTMETER_IVY_SETTINGS"):
        command += ["-settings", settings]
    log = work / "ivy.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
    try:
        watch(process, work / "cache", progress)
    finally:
        process.kill()
        process.wait()
    if process.returncode != 0:
        raise SmartmeterError(f"the download failed: {ADVICE}. Ivy's last words:\n{tail(log)}")
    return work / "files"


def watch(process: subprocess.Popen[bytes], cache: Path, progress: Callable[[int], None]) -> None:
    """Report the growing size of `cache` until `process` ends; end it when nothing grows for STALLED_AFTER_S."""
    size, grown_at = 0, time.monotonic()
    while process.poll() is None:
        now = size_of(cache)
        if now > size:
            size, grown_at = now, time.monotonic()
        if time.monotonic() - grown_at > STALLED_AFTER_S:
            raise SmartmeterError(f"the download stalled, nothing arrived for {STALLED_AFTER_S:.0f} s: {ADVICE}")
        progress(size)
        time.sleep(0.1)
    progress(size_of(cache))


def size_of(folder: Path) -> int:
    """Bytes in the files below `folder`; files that vanish meanwhile count nothing."""
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                total += (Path(parent) / name).stat().st_size
            except FileNotFoundError:
                continue
    return total


def tail(log: Path, lines: int = 15) -> str:
    """The last lines of a log."""
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:])
