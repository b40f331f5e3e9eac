"""Files as kubeadm writes them, and the options around them, through the command itself."""

from pathlib import Path

import pytest

from strictarp.cli.main import main
from strictarp.proxy import config
from strictarp.proxy.config import Config, DetectLocal
from strictarp.proxy.fields import parse_network
from strictarp.proxy.situation import NodeFacts, odd_families
from support.planning import HERE, HERE6
from support.planning import plan as planned
from support.proxy_objects import endpoint_slice, service

# The ConfigMap kube-proxy of kubeadm 1.32: each field of the struct, most with Go's zero value.
KUBEADM = """\
apiVersion: kubeproxy.config.k8s.io/v1alpha1
bindAddress: 0.0.0.0
bindAddressHardFail: false
clientConnection:
  acceptContentTypes: ""
  burst: 0
  contentType: ""
  kubeconfig: /var/lib/kube-proxy/kubeconfig.conf
  qps: 0
clusterCIDR: 10.244.0.0/16
configSyncPeriod: 0s
conntrack:
  maxPerCore: null
  min: null
  tcpBeLiberal: false
  tcpCloseWaitTimeout: null
  tcpEstablishedTimeout: null
  udpStreamTimeout: 0s
  udpTimeout: 0s
detectLocal:
  bridgeInterface: ""
  interfaceNamePrefix: ""
detectLocalMode: ""
enableProfiling: false
healthzBindAddress: ""
hostnameOverride: ""
iptables:
  localhostNodePorts: null
  masqueradeAll: false
  masqueradeBit: null
  minSyncPeriod: 0s
  syncPeriod: 0s
ipvs:
  excludeCIDRs: null
  minSyncPeriod: 0s
  scheduler: ""
  strictARP: false
  syncPeriod: 0s
  tcpFinTimeout: 0s
  tcpTimeout: 0s
  udpTimeout: 0s
kind: KubeProxyConfiguration
logging:
  flushFrequency: 0
  options:
    json:
      infoBufferSize: "0"
    text:
      infoBufferSize: "0"
  verbosity: 0
metricsBindAddress: ""
mode: ""
nftables:
  masqueradeAll: false
  masqueradeBit: null
  minSyncPeriod: 0s
  syncPeriod: 0s
nodePortAddresses: null
oomScoreAdj: null
portRange: ""
showHiddenMetricsForVersion: ""
winkernel:
  enableDSR: false
  forwardHealthCheckVip: false
  networkName: ""
  rootHnsEndpointName: ""
  sourceVip: ""
windowsRunAsService: false
"""


def test_kubeadms_own_file_is_the_defaults_and_odd_in_its_mode_alone() -> None:
    made = config.load(KUBEADM, "config.conf")
    assert [warning.split(": ")[1] for warning in made.warnings] == ["mode"]
    assert made == Config(
        kubeconfig="/var/lib/kube-proxy/kubeconfig.conf",
        detect_local=DetectLocal("ClusterCIDR", (parse_network("10.244.0.0/16"),)),
        warnings=made.warnings,
    )


def test_the_configuration_is_written_with_its_defaults_and_means_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given, written = tmp_path / "given", tmp_path / "written"
    given.write_text(KUBEADM)
    assert main(["proxy", "--config", str(given), "--write-config-to", str(written)]) == 0
    again = config.load(written.read_text(), "written")
    assert again.warnings == ()
    assert (again.scheduler, again.sync_period, again.health) == ("rr", 30.0, ("0.0.0.0", 10256))
    assert main(["proxy", "--write-config-to", str(written)]) == 0
    assert config.load(written.read_text(), "written") == Config()
    assert main(["proxy", "--config", str(given), "--write-config-to", str(tmp_path / "no" / "file")]) == 1
    assert "--write-config-to" in capsys.readouterr().err


def test_the_written_configuration_has_the_name_that_is_in_force(tmp_path: Path) -> None:
    given, written = tmp_path / "given", tmp_path / "written"
    given.write_text(KUBEADM.replace('hostnameOverride: ""', "hostnameOverride: node2"))
    argv = ["proxy", "--config", str(given), "--write-config-to", str(written)]
    assert main(argv) == 0
    assert config.load(written.read_text(), "written").hostname_override == "node2"
    assert main([*argv, "--hostname-override", " Node1 "]) == 0
    assert config.load(written.read_text(), "written").hostname_override == "node1"
    assert main([*argv, "--hostname-override", " "]) == 1


@pytest.mark.parametrize(
    ("argv", "code", "said"),
    [
        ([], 64, "--config"),
        (["--config", "FILE", "--hostname-override", "  "], 1, "--hostname-override: empty"),
        (["--config", "/nonexistent"], 1, "--config /nonexistent: cannot be read"),
        (["--config", "FILE", "--settings", "/nonexistent"], 1, "--settings /nonexistent"),
        (["--config", "FILE", "--strictarp-scope", "some"], 64, "--strictarp-scope"),
        (["migrate", "--config", "FILE", "--strictarp-scope", "some"], 64, "--strictarp-scope"),
        (["migrate", "--config", "FILE", "--wait", "0"], 64, "--wait"),
    ],
    ids=str,
)
def test_options_that_cannot_be_used_are_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], argv: list[str], code: int, said: str
) -> None:
    (tmp_path / "f").write_text(KUBEADM)
    assert main(["proxy", *(str(tmp_path / "f") if word == "FILE" else word for word in argv)]) == code
    told = capsys.readouterr()
    assert told.out == ""
    assert said in told.err
    assert "Traceback" not in told.err


def _packed(*texts: str) -> tuple[bytes, ...]:
    from ipaddress import ip_address

    return tuple(ip_address(text).packed for text in texts)


def test_what_is_for_the_other_family_alone_is_warned_of_and_changes_nothing() -> None:
    head = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nmode: ipvs\n"
    six = head + 'clusterCIDR: "2001:db8::/64"\nnodePortAddresses: ["2001:db8:1::/64"]\n'
    six += 'ipvs: {excludeCIDRs: ["2001:db8:7::/64"]}\n'
    made = config.load(six, "f")
    both = NodeFacts("node1", primary=_packed(HERE, HERE6))
    assert [warning.split(":")[0] for warning in odd_families(made, both)] == [
        "clusterCIDR",
        "nodePortAddresses",
    ]
    single = NodeFacts("node1", primary=_packed(HERE), families=(4,))
    assert len(odd_families(made, single)) == 3
    assert odd_families(made, NodeFacts("node1", primary=_packed(HERE6))) == []
    assert odd_families(config.load(six + 'bindAddress: "::1"\n', "f"), both) == []
    assert odd_families(config.load(KUBEADM, "f"), both) == []
    objects = service("a", "203.0.113.10", type="NodePort"), endpoint_slice("a", ["198.51.100.1"])
    assert planned(*objects, config=made) == planned(*objects, config=Config())
