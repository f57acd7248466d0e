"""What is told of a backend that ended without a word of its own."""

_LAUNCHER_SAYS = "exit abnormally"
_FAULT_HANDLER_SAYS = ("Fatal Python error", "Extension modules:")  # its first line and its last


def crashMessage(exitStatus, lastLines):
    """Why a backend ended without a word of its own, with a remedy, and the last lines that it wrote."""
    lines = "\n".join(lastLines) or "It wrote no message."
    return f"{_crashCause(exitStatus, lines)} (exit status {exitStatus})\n{lines}"


def _crashCause(exitStatus, lines):
    # Slicer's launcher ends with the exit status 1 whatever signal ended the process that it had started, and says so.
    # Other signals than SIGKILL are told by Python's fault handler.
    wasKilled = _LAUNCHER_SAYS in lines and not any(words in lines for words in _FAULT_HANDLER_SAYS)
    if exitStatus == -9 or wasKilled:
        return (
            "The backend was ended by the system, most likely for lack of memory; close other programs and try again."
        )
    if "ModuleNotFoundError" in lines or "PackageNotFoundError" in lines:
        return (
            "The backend lacks a Python package. Open the module's panel and press its button: it offers to install "
            "what is missing."
        )
    return "The backend ended without a result."
