"""The hand-over to TensorFlow Serving: every file is read by what it is meant for."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
from tensorflow_serving.config import model_server_config_pb2

from covidcxr_tf.errors import DataError, UsageError
from covidcxr_tf.export.tf_serving import IMAGE, exported_versions, merged_config, write_server_files

NAMES = {
    "models.config",
    "batching_parameters.txt",
    "monitoring.config",
    "docker-compose.yaml",
    "kubernetes.yaml",
    "README.txt",
    "clients/rest_client.py",
    "clients/grpc_client.py",
}


def exported(out: Path, name: str, *versions: int) -> Path:
    for version in versions:
        folder = out / name / str(version)
        folder.mkdir(parents=True)
        (folder / "saved_model.pb").write_bytes(b"")
    return out


def config_of(out: Path) -> Any:
    config = model_server_config_pb2.ModelServerConfig()
    text_format.Parse((out / "models.config").read_text(), config)
    return config


def labels_of(out: Path, name: str) -> dict[str, int]:
    (entry,) = [model for model in config_of(out).model_config_list.config if model.name == name]
    return dict(entry.version_labels)


def test_all_files_are_written_and_named(tmp_path: Path) -> None:
    written = write_server_files(exported(tmp_path, "chexnet", 1), "chexnet")
    assert {path.relative_to(tmp_path).as_posix() for path in written} == NAMES
    assert all(path.is_file() for path in written)
    for path in written:
        assert not re.search(r"(?<!\$)\$(name|image|tensorflow|package)", path.read_text()), path


def test_models_config_is_what_the_server_reads(tmp_path: Path) -> None:
    write_server_files(exported(tmp_path, "chexnet", 2, 10, 9), "chexnet")
    (entry,) = config_of(tmp_path).model_config_list.config
    assert (entry.name, entry.base_path, entry.model_platform) == ("chexnet", "/models/chexnet", "tensorflow")
    assert entry.model_version_policy.latest.num_versions == 2
    assert dict(entry.version_labels) == {"canary": 10, "stable": 9}  # by number, not by spelling


def test_one_version_has_both_labels(tmp_path: Path) -> None:
    write_server_files(exported(tmp_path, "chexnet", 7), "chexnet")
    assert labels_of(tmp_path, "chexnet") == {"canary": 7, "stable": 7}


def test_a_new_version_moves_the_labels_and_a_second_model_joins(tmp_path: Path) -> None:
    write_server_files(exported(tmp_path, "chexnet", 1), "chexnet")
    write_server_files(exported(tmp_path, "base", 4), "base")
    write_server_files(exported(tmp_path, "chexnet", 2), "chexnet")
    assert [model.name for model in config_of(tmp_path).model_config_list.config] == ["chexnet", "base"]
    assert labels_of(tmp_path, "chexnet") == {"canary": 2, "stable": 1}
    assert labels_of(tmp_path, "base") == {"canary": 4, "stable": 4}
    before = (tmp_path / "models.config").read_bytes()
    write_server_files(tmp_path, "chexnet")
    assert (tmp_path / "models.config").read_bytes() == before


def test_what_the_user_wrote_stays(tmp_path: Path) -> None:
    own = """
    model_config_list {
      config { name: "other" base_path: "gs://bucket/other" model_platform: "tensorflow" }
      config {
        name: "chexnet" base_path: "/data/chexnet" model_platform: "tensorflow"
        model_version_policy { specific { versions: 1 versions: 2 } }
        version_labels { key: "paper" value: 1 }
        version_labels { key: "lost" value: 99 }
        version_labels { key: "canary" value: 1 }
      }
    }"""
    (tmp_path / "models.config").write_text(own)
    (tmp_path / "docker-compose.yaml").write_text("mine: {}\n")
    written = write_server_files(exported(tmp_path, "chexnet", 1, 2, 3), "chexnet")
    other, entry = config_of(tmp_path).model_config_list.config
    assert (other.base_path, len(other.version_labels)) == ("gs://bucket/other", 0)
    assert entry.base_path == "/data/chexnet"
    assert list(entry.model_version_policy.specific.versions) == [1, 2]
    # version 3 is there, but the policy does not serve it; a label of a version that is gone would stop the server
    assert dict(entry.version_labels) == {"paper": 1, "stable": 1, "canary": 2}
    assert (tmp_path / "docker-compose.yaml").read_text() == "mine: {}\n"
    assert tmp_path / "docker-compose.yaml" in written


def test_labels_stay_when_the_policy_serves_no_version_that_is_there(tmp_path: Path) -> None:
    pinned = """model_config_list { config { name: "m" base_path: "/models/m"
        model_version_policy { specific { versions: 5 } } version_labels { key: "stable" value: 2 } } }"""
    (tmp_path / "models.config").write_text(pinned)
    text = merged_config(tmp_path / "models.config", "m", [1, 2])
    config = text_format.Parse(text, model_server_config_pb2.ModelServerConfig())
    assert dict(config.model_config_list.config[0].version_labels) == {"stable": 2}


@pytest.mark.parametrize("text", ["model_config_list {", "hello", "model_config_list { config { nam: 'x' } }", "\xff"])
def test_a_broken_models_config_is_named_and_left_alone(tmp_path: Path, text: str) -> None:
    path = tmp_path / "models.config"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(DataError, match="not a ModelServerConfig") as caught:
        write_server_files(exported(tmp_path, "chexnet", 1), "chexnet")
    assert caught.value.where == str(path)
    assert path.read_bytes() == text.encode("latin-1")


def test_a_custom_config_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "models.config").write_text("custom_model_config {}")
    with pytest.raises(DataError, match="custom_model_config"):
        write_server_files(exported(tmp_path, "chexnet", 1), "chexnet")


@pytest.mark.parametrize("name", ["", "a b", "../up", ".hidden", "a/b", "café", "clients", "README.txt"])
def test_names_that_cannot_be_served_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="model name"):
        write_server_files(tmp_path, name)
    assert list(tmp_path.iterdir()) == []


def test_versions_are_folders_of_digits_with_a_model(tmp_path: Path) -> None:
    exported(tmp_path, "m", 3, 12)
    (tmp_path / "m" / "4").mkdir()  # no model inside: half copied
    (tmp_path / "m" / ".5.tmp").mkdir()
    (tmp_path / "m" / "notes").write_text("")
    assert exported_versions(tmp_path / "m") == [3, 12]
    assert exported_versions(tmp_path / "none") == []
    with pytest.raises(DataError, match="no exported version"):
        write_server_files(tmp_path, "none")


def message_of(name: str, fields: dict[str, str], wrapped: bool) -> Any:
    """Return a message class with these fields, as the server's own .proto names them (they are in no package)."""
    proto = descriptor_pb2.FileDescriptorProto(name=f"{name}.proto", package="test", syntax="proto3")
    kinds = descriptor_pb2.FieldDescriptorProto
    values = proto.message_type.add(name="Value")
    values.field.add(name="value", number=1, type=kinds.TYPE_INT64, label=kinds.LABEL_OPTIONAL)
    flags = proto.message_type.add(name="Flag")
    flags.field.add(name="value", number=1, type=kinds.TYPE_BOOL, label=kinds.LABEL_OPTIONAL)
    message = proto.message_type.add(name=name)
    types = {"string": kinds.TYPE_STRING, "bool": kinds.TYPE_BOOL}
    for number, (field, kind) in enumerate(fields.items(), start=1):
        added = message.field.add(name=field, number=number, label=kinds.LABEL_OPTIONAL)
        if wrapped:
            added.type, added.type_name = kinds.TYPE_MESSAGE, f".test.{kind}"
        else:
            added.type = types[kind]
    if not wrapped:
        outer = proto.message_type.add(name="MonitoringConfig")
        outer.field.add(
            name="prometheus_config", number=1, type=kinds.TYPE_MESSAGE, type_name=f".test.{name}",
            label=kinds.LABEL_OPTIONAL,
        )  # fmt: skip
        name = "MonitoringConfig"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(proto)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(f"test.{name}"))


def test_batching_parameters_have_the_fields_of_the_server(tmp_path: Path) -> None:
    names = ("max_batch_size", "batch_timeout_micros", "max_enqueued_batches", "num_batch_threads")
    fields = dict.fromkeys((*names, "max_execution_batch_size"), "Value")
    kind = message_of("BatchingParameters", {**fields, "enable_large_batch_splitting": "Flag"}, wrapped=True)
    write_server_files(exported(tmp_path, "chexnet", 1), "chexnet")
    read = text_format.Parse((tmp_path / "batching_parameters.txt").read_text(), kind())
    assert read.max_batch_size.value >= read.max_execution_batch_size.value >= 1
    assert read.enable_large_batch_splitting.value
    assert 0 < read.batch_timeout_micros.value <= 10_000  # the wait of a film alone
    assert read.num_batch_threads.value >= 1 and read.max_enqueued_batches.value >= 1


def test_monitoring_is_on_at_the_usual_path(tmp_path: Path) -> None:
    kind = message_of("PrometheusConfig", {"enable": "bool", "path": "string"}, wrapped=False)
    write_server_files(exported(tmp_path, "chexnet", 1), "chexnet")
    read = text_format.Parse((tmp_path / "monitoring.config").read_text(), kind())
    assert read.prometheus_config.enable
    assert read.prometheus_config.path == "/monitoring/prometheus/metrics"


def test_compose_locks_the_container_in_and_asks_for_its_health(tmp_path: Path) -> None:
    yaml = pytest.importorskip("yaml", reason="pip install pyyaml")
    write_server_files(exported(tmp_path, "chexnet", 1), "chexnet")
    service = yaml.safe_load((tmp_path / "docker-compose.yaml").read_text())["services"]["serving"]
    assert service["image"] == f"${{TF_SERVING_IMAGE:-{IMAGE}}}"
    assert service["user"] != "0" and service["read_only"] and service["cap_drop"] == ["ALL"]
    assert service["volumes"] == ["./:/models:ro"]
    assert {port.rsplit(":", 2)[0] for port in service["ports"]} == {"127.0.0.1"}
    assert {port.rsplit(":", 1)[1] for port in service["ports"]} == {"8500", "8501"}
    assert flags_are_right(service["command"])
    assert "/v1/models/" in service["healthcheck"]["test"][3]


def test_the_health_command_of_compose_is_bash_and_finds_every_model(tmp_path: Path) -> None:
    yaml = pytest.importorskip("yaml", reason="pip install pyyaml")
    for name in ("chexnet", "base.2"):
        write_server_files(exported(tmp_path, name, 1), name)
    service = yaml.safe_load((tmp_path / "docker-compose.yaml").read_text())["services"]["serving"]
    *shell, script = service["healthcheck"]["test"][1:]
    script = script.replace("$$", "$").replace("/models/models.config", str(tmp_path / "models.config"))
    told = script.replace("exec 3<>/dev/tcp/127.0.0.1/8501", "exec 3<>/dev/null").replace(
        "timeout 5 cat <&3 | grep -q AVAILABLE", 'echo "asked $name"'
    )
    done = subprocess.run([*shell, told], capture_output=True, text=True)
    assert (done.returncode, done.stdout.split("\n")) == (0, ["asked chexnet", "asked base.2", ""]), done.stderr
    assert subprocess.run([*shell, script.replace("8501", "1")], capture_output=True).returncode != 0  # nobody there


def flags_are_right(arguments: list[str]) -> bool:
    flags = dict(argument.removeprefix("--").split("=", 1) for argument in arguments)
    return (
        flags["port"] == "8500"
        and flags["rest_api_port"] == "8501"
        and flags["model_config_file"] == "/models/models.config"
        and flags["batching_parameters_file"] == "/models/batching_parameters.txt"
        and flags["monitoring_config_file"] == "/models/monitoring.config"
        and flags["allow_version_labels_for_unavailable_models"] == "true"
        and flags["enable_batching"] == "true"
    )


def test_kubernetes_manifest(tmp_path: Path) -> None:
    yaml = pytest.importorskip("yaml", reason="pip install pyyaml")
    write_server_files(exported(tmp_path, "chexnet", 1), "chexnet")
    parts = {part["kind"]: part for part in yaml.safe_load_all((tmp_path / "kubernetes.yaml").read_text())}
    assert set(parts) == {"PersistentVolumeClaim", "Deployment", "Service"}
    pod = parts["Deployment"]["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    assert container["image"] == IMAGE
    assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
    }  # fmt: skip
    assert flags_are_right(container["args"])
    assert container["startupProbe"]["httpGet"]["path"] == "/v1/models/chexnet"
    assert container["livenessProbe"]["httpGet"]["path"] == "/v1/models/chexnet"
    assert container["readinessProbe"]["httpGet"]["path"] == "/v1/models/chexnet/metadata"
    (models,) = [mount for mount in container["volumeMounts"] if mount["mountPath"] == "/models"]
    assert models["readOnly"] is True
    claims = [
        volume["persistentVolumeClaim"]["claimName"] for volume in pod["spec"]["volumes"] if "persist" in str(volume)
    ]
    assert claims == [parts["PersistentVolumeClaim"]["metadata"]["name"]]
    assert container["resources"]["limits"].keys() == {"cpu", "memory"}
    selector = parts["Service"]["spec"]["selector"]
    assert selector == pod["metadata"]["labels"] == parts["Deployment"]["spec"]["selector"]["matchLabels"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert ports == {"grpc": 8500, "rest": 8501}
    assert {port["targetPort"] for port in parts["Service"]["spec"]["ports"]} == set(ports)


def test_the_clients_are_python_and_know_the_model(tmp_path: Path) -> None:
    write_server_files(exported(tmp_path, "chexnet", 1), "chexnet")
    for client in ("rest_client.py", "grpc_client.py"):
        text = (tmp_path / "clients" / client).read_text()
        assert 'default="chexnet"' in text
        ast.parse(text)
    imported = {
        name.split(".")[0]
        for node in ast.walk(ast.parse((tmp_path / "clients" / "rest_client.py").read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [alias.name for alias in node.names])
    }
    assert imported <= sys.stdlib_module_names


def test_the_rest_client_says_what_went_wrong_without_a_server(tmp_path: Path) -> None:
    write_server_files(exported(tmp_path, "chexnet", 1), "chexnet")
    film = tmp_path / "film.png"
    film.write_bytes(b"x")
    client = [sys.executable, str(tmp_path / "clients" / "rest_client.py"), "--server", "http://127.0.0.1:1"]
    done = subprocess.run([*client, str(film)], capture_output=True, text=True)
    assert done.returncode == 1 and "http://127.0.0.1:1" in done.stderr and "Traceback" not in done.stderr


def test_the_readme_names_every_file(tmp_path: Path) -> None:
    write_server_files(exported(tmp_path, "chexnet", 1), "chexnet")
    text = (tmp_path / "README.txt").read_text()
    assert "models.config" in text and "docker compose up" in text and "kubectl apply -f kubernetes.yaml" in text
    assert len(text.splitlines()) <= 25
