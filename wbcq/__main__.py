"""``python -m wbcq`` is the ``wbcq`` command, for example under ``torchrun``."""

from wbcq.cli import main

if __name__ == "__main__":
    main()
