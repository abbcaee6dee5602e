"""``python -m attention_variants.cli`` is ``attention-variants``."""

import sys

from . import main

sys.exit(main())
