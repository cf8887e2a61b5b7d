// A tenant's own forwarding plane: it counts what it sees, refuses telnet and sends the rest back.

c :: Classifier(12/0800 23/06 36/0017, 12/0800, -);
FromDevice(eth0) -> all :: Counter -> c;
c[0] -> refused :: Counter -> Discard;
c[1] -> Strip(14) -> CheckIPHeader -> DecIPTTL
    -> t :: Tee(2);
t[0] -> EtherEncap(0x0800, 02:00:00:00:02:01, 02:00:00:00:02:fe) -> Queue(512) -> ToDevice(eth1);
t[1] -> sample :: CheckPaint(7) -> Discard;
c[2] -> Discard;
