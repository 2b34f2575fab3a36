"""Fuzz the parsers, guided by coverage: `make fuzz`, or `python tests/fuzz/run.py --seconds 60 wire flags`.

Each target runs in a process of its own with atheris (libFuzzer), begins with its seeds and with what former runs found
worth keeping (fuzz-corpus/TARGET), and ends after its time. Its limits: 4 GB of memory, 10 s and 64 KiB an input. A finding is
written to fuzz-corpus/crash-TARGET-*, and `--replay FILE TARGET` runs it again without atheris.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
CORPUS = HERE.parents[1] / "fuzz-corpus"
INPUT_BYTES_MAX = 1 << 16
INPUT_SECONDS_MAX = 10
MEMORY_MB_MAX = 4096


def main() -> int:
    parser = argparse.ArgumentParser(description="Fuzz mailkeep's parsers with atheris.")
    parser.add_argument("targets", nargs="*", help="which (default: all)")
    parser.add_argument("--seconds", type=int, default=30, help="for each target (default: 30)")
    parser.add_argument(
        "--seed", type=int, default=1, help="of the random numbers (default: 1); 0: another each time"
    )
    parser.add_argument("--replay", type=Path, metavar="FILE", help="run this input on the one target named")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    sys.path[:0] = [str(HERE.parent), str(HERE.parents[1] / "src")]
    if options.child:
        fuzz(options.targets[0], options.seconds, options.seed)
        return 0
    from fuzz.targets import SEEDS, TARGETS, run

    names = options.targets or list(TARGETS)
    unknown = set(names) - set(TARGETS)
    if unknown:
        parser.error(f"no such target: {', '.join(sorted(unknown))}; there are {', '.join(TARGETS)}")
    if options.replay is not None:
        for name in names[:1]:
            run(name, options.replay.read_bytes())
        return 0
    found = []
    for name in names:
        corpus = CORPUS / name
        corpus.mkdir(parents=True, exist_ok=True)
        for number, seed in enumerate(SEEDS[name]):
            (corpus / f"seed-{number}").write_bytes(seed)
        print(
            f"--- {name}: {options.seconds} s, seed {options.seed}, {len(list(corpus.iterdir()))} inputs",
            flush=True,
        )
        argv = [
            sys.executable,
            __file__,
            "--child",
            "--seconds",
            str(options.seconds),
            "--seed",
            str(options.seed),
            name,
        ]
        if subprocess.run(argv, check=False).returncode != 0:
            found.append(name)
    print(f"{len(names)} targets, findings in {len(found)}" + (f": {', '.join(found)}" if found else ""))
    return 1 if found else 0


def fuzz(name: str, seconds: int, seed: int) -> None:
    """One target, in this process; it does not return."""
    import atheris

    with atheris.instrument_imports(include=["mailkeep"]):
        from fuzz.targets import run
    atheris.Setup(
        [
            sys.argv[0], str(CORPUS / name), f"-max_total_time={seconds}", f"-seed={seed}", f"-max_len={INPUT_BYTES_MAX}",
            f"-timeout={INPUT_SECONDS_MAX}", f"-rss_limit_mb={MEMORY_MB_MAX}", "-verbosity=0", "-print_final_stats=1",
            f"-artifact_prefix={CORPUS}/crash-{name}-",
        ],
        lambda data: run(name, data),
    )  # fmt: skip
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
