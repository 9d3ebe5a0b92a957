"""What no command prints: other people's warnings, and progress that is a new line each time."""

import re

NOISE = re.compile("WARN|log4j|log level|incubator|native-hadoop|Traceback|[0-9]+ of [0-9]+ MB\n")
