from strictarp.lab.ipvs_table import real_servers, serving

# The kernel ends these lines with blanks.
TABLE = """\
IP Virtual Server version 1.2.1 (size=4096)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port Forward Weight ActiveConn InActConn
TCP  C0000264:0050 rr
  -> C6336412:1F90      Masq    1      0          3
  -> C6336422:1F90      Masq    0      0          0
TCP  C0000264:01BB rr
  -> C6336412:20FB      Masq    1      0          0
UDP  C0000264:0050 rr
""".replace("\n", "  \n")


def test_the_real_servers_of_one_virtual_server_come_with_their_weights() -> None:
    found = real_servers(TABLE, "192.0.2.100", 80)
    assert found == {"198.51.100.18:8080": 1, "198.51.100.34:8080": 0}


def test_another_port_or_protocol_is_another_virtual_server() -> None:
    assert real_servers(TABLE, "192.0.2.100", 443) == {"198.51.100.18:8443": 1}
    assert real_servers(TABLE, "192.0.2.100", 80, "UDP") == {}


def test_an_unknown_address_has_no_real_servers() -> None:
    assert real_servers(TABLE, "192.0.2.101", 80) == {}


def test_a_real_server_without_weight_gets_no_new_connections() -> None:
    assert serving(TABLE, "192.0.2.100", 80) == 1
    assert serving(TABLE, "192.0.2.101", 80) == 0
