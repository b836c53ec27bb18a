"""`python -m fitgate` is `fitgate`."""

from fitgate.cli import main

main()
