"""The browser assistant: uploads, the chat turn, evidence, and the screens and interfaces over them."""

import os

# Libraries read these once, when they are imported, so they are set before any module of this package is.
TELEMETRY_OFF = {
    "ANONYMIZED_TELEMETRY": "False",
    "DO_NOT_TRACK": "1",
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "LANGCHAIN_TRACING_V2": "false",
    "LANGSMITH_TRACING": "false",
    "VLLM_NO_USAGE_STATS": "1",
}
os.environ.update(TELEMETRY_OFF)
