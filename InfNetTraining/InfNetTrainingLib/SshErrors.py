"""The script that trains on another machine: how it is run, and why it has ended before its training."""

import shlex
from pathlib import Path

from slicer.i18n import tr as _

SCRIPT = "remote.sh"  # SshScript.py
SCRIPT_LOG = "remote.log"  # what it wrote when Slicer ran it
_LINES_TOLD = 5


def scriptCommand(folder):
    """Runs the script from a terminal. It finds its own folder by "/", which Windows takes too."""
    return f"bash {shlex.quote((folder / SCRIPT).as_posix())}"


def sshError(folder, host):
    """The cause in the words of ssh, and the remedy; "" where it said nothing."""
    path = Path(folder) / SCRIPT_LOG
    lines = path.read_text(encoding="utf-8", errors="replace").strip().splitlines() if path.is_file() else []
    if not lines:
        return ""
    told = "\n".join(lines[-_LINES_TOLD:])
    return "\n".join([told, _remedy(told, host)])


def _remedy(told, host):
    remedies = {
        "Host key verification failed": _(
            "Its key is not known here: connect once in a terminal, “ssh {}”, accept it."
        ),
        "Permission denied (": _("Your key is not accepted, and no password can be asked for here: “ssh-copy-id {}”."),
        "Could not resolve": _("No machine is known as “{}”: mend the name."),
        "Connection refused": _("No SSH server answers on {}: start it, or give the right name."),
        "timed out": _("{} does not answer: switch it on, or look at network and firewall."),
        "No route to host": _("{} cannot be reached: switch it on, or look at network and firewall."),
        "No space left": _("The disk is full, here or on {}: make room."),
    }
    remedy = next((text for cause, text in remedies.items() if cause in told), "").format(host)
    return (remedy + " " if remedy else "") + _("Resume goes on where it was.")
