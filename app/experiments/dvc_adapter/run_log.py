"""What DVC prints of an experiment: why it failed."""

import re


def find_failure_reason(log: str) -> str:
    """Return why an experiment failed: the last line of the failed stage, or else of the log.

    log: what `dvc queue logs` prints.
    """
    lines = [line.strip() for line in log.splitlines() if line.strip()]
    if not lines:
        return "it did not start, so there is no log; run again"
    failed = re.search(r"failed to reproduce '([^'@]+)", log)
    if failed:
        logged = [line for line in lines if line.startswith(f"{failed[1]}: ")]
        raised = [line for line in lines if re.match(r"[\w.]*(Error|Exception|Interrupt)\b", line)]
        for candidates in (raised, logged):
            if candidates:
                return candidates[-1]
    started = re.findall(r"Running stage '([^']+)'", log)
    if started and not any(line.startswith("ERROR: ") for line in lines):
        return f"its processes were killed in {started[-1]}; run again"
    return lines[-1].removeprefix("ERROR: ")
