"""What can be set, and the only place that reads the environment.

Every name takes the prefix MEDVINT_ (`MEDVINT_PORT=8080`), from the environment or a `.env` file.

    python -c "from assistant.settings import Settings; print(Settings())"
"""

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from dotenv import dotenv_values
from pydantic import AnyHttpUrl, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

DEMO_MODEL = "demo"
PREFIX = "MEDVINT_"


@dataclass(frozen=True)
class Setting:
    """One setting as it stands: `value` is hidden where it is a secret, `source` says who set it."""

    name: str
    value: Any
    source: str
    help: str


class Settings(BaseSettings):
    """Settings of all processes. Sizes are in MiB or pixels, times in seconds, as the names say."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_file=".env", extra="ignore", env_ignore_empty=True, protected_namespaces=()
    )

    model: str = Field(
        default=DEMO_MODEL, description="'demo', a folder with a converted model, or a hub id that vLLM serves"
    )
    model_url: AnyHttpUrl | None = Field(default=None, description="an OpenAI-compatible server that runs elsewhere")
    model_api_key: SecretStr = Field(default=SecretStr("EMPTY"), description="its key, where it asks for one")
    served_model_name: str = Field(
        default="medvint", description="the name under which the server knows the model; not set: the only one it has"
    )
    compare_url: AnyHttpUrl | None = Field(default=None, description="a second server, for the page Compare")
    compare_api_key: SecretStr = Field(default=SecretStr("EMPTY"), description="its key, where it asks for one")
    compare_model_name: str = Field(default="", description="its model; not set: the only one it has")
    captions_in_prompt: bool = Field(
        default=False, description="put similar captions into the prompt (not for the demo)"
    )
    max_answer_tokens: int = Field(default=256, ge=1)
    model_timeout_s: float = Field(default=60, gt=0, description="longest silence of the model before a turn gives up")

    host: str = "127.0.0.1"
    port: int = Field(default=7860, ge=1, le=65535)
    model_port: int = Field(default=8000, ge=1, le=65535)

    users_file: Path | None = Field(default=None, description="who may sign in; `medvint users add NAME` writes it")
    up_token: SecretStr = Field(
        default=SecretStr(""), description="how `medvint up` itself signs in; made at each start"
    )
    allow_open: bool = Field(default=False, description="let everybody in at an address that others can reach")
    allowed_hosts: str = Field(
        default="", description="further names of this server, with commas; on loopback no other name is answered"
    )
    framed_by: str = Field(default="", description="addresses of sites that may show the page in a frame")
    requests_per_minute: int = Field(default=120, ge=1, description="of one person: questions, searches, uploads")
    waiting_questions: int = Field(default=64, ge=1, description="how many may wait before the page says it is busy")

    data_dir: Path = Field(default=Path("data"), description="all state; deleting it is a factory reset")
    keep_conversations: bool = Field(default=True, description="keep them on disk; never where everybody may come in")
    conversation_days: float = Field(default=0, ge=0, description="forget unpinned ones so long untouched; 0: never")
    chroma_url: AnyHttpUrl | None = Field(default=None, description="a Chroma server, instead of the embedded one")
    examples_dir: Path | None = Field(default=None, description="images and one CSV with columns image,question")
    embedder: str = Field(
        default="demo", description="what makes the index's vectors: demo, minilm, pmc-clip:FOLDER, clip:FOLDER_OR_ID"
    )
    figures_shown: int = Field(default=6, ge=1, le=50, description="similar figures beside an answer")
    remote_thumbnails: bool = Field(
        default=False,
        description="show pictures that are not on this machine from their own site, which then sees who looks at them",
    )

    max_upload_mb: float = Field(default=20, gt=0)
    max_corpus_mb: float = Field(default=500, gt=0, description="a ZIP, or a folder, of figures for the Library")
    max_pixels: int = Field(default=64_000_000, ge=1, description="rows x columns x frames")
    max_question_chars: int = Field(default=2_000, ge=1)

    @cached_property
    def model_base_url(self) -> str:
        """The server's address with `/v1`, whether or not `model_url` was given with it."""
        return f"{self.model_root_url}/v1"

    @cached_property
    def model_root_url(self) -> str:
        """The server's address without `/v1`: `/health` lives there."""
        url = str(self.model_url) if self.model_url else f"http://127.0.0.1:{self.model_port}"
        return url.rstrip("/").removesuffix("/v1")

    def compared(self) -> "Settings | None":
        """The same settings for the second server; None where there is none."""
        if self.compare_url is None:
            return None
        given = self.model_dump(exclude_unset=True, exclude={"served_model_name"})
        named = {"served_model_name": self.compare_model_name} if self.compare_model_name else {}
        other = {"model_url": self.compare_url, "model_api_key": self.compare_api_key, "captions_in_prompt": False}
        return Settings(**{**given, **other, **named})

    @property
    def model_is_here(self) -> bool:
        """Whether the model's server runs on this machine: a proxy that is set for the internet does not reach it."""
        host = self.model_url.host if self.model_url else None
        return host in (None, "localhost", "[::1]") or host.startswith("127.")

    @property
    def model_dir(self) -> Path:
        """Where the assembled demo model lies; other models are where `model` says."""
        return self.data_dir / "models" / "demo"

    @property
    def reports_dir(self) -> Path:
        """Where `medvint evaluate` writes its reports."""
        return self.data_dir / "reports"

    @property
    def conversations_file(self) -> Path:
        return self.data_dir / "conversations.db"

    @property
    def index_dir(self) -> Path:
        return self.data_dir / "index"

    @property
    def is_demo(self) -> bool:
        return self.model == DEMO_MODEL and self.model_url is None

    @property
    def max_upload_bytes(self) -> int:
        return int(self.max_upload_mb * 1024 * 1024)

    @property
    def max_corpus_bytes(self) -> int:
        return int(self.max_corpus_mb * 1024 * 1024)

    @property
    def chroma_address(self) -> str | None:
        """`chroma_url` as retrieval takes it."""
        return str(self.chroma_url) if self.chroma_url else None

    def listed(self) -> list[Setting]:
        """All settings in their order, with where each comes from: the environment, the file .env, or the default."""
        in_file = {name.upper() for name, value in dotenv_values(".env").items() if value}
        in_environment = {name.upper() for name, value in os.environ.items() if value}
        listed = []
        for name, field in type(self).model_fields.items():
            variable = f"{PREFIX}{name.upper()}"
            places = {"environment": in_environment, ".env": in_file}
            source = next((place for place, names in places.items() if variable in names), "default")
            value = getattr(self, name)
            listed.append(Setting(variable, _shown(value), source, field.description or ""))
        return listed


def _shown(value: object) -> Any:
    if isinstance(value, SecretStr):
        return "(set)" if value.get_secret_value() not in ("", "EMPTY") else "(not set)"
    return value if value is None or isinstance(value, bool | int | float) else str(value)
