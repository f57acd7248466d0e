import sys

from infnet.cli import main

sys.exit(main())
