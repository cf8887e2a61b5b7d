// The fast path and the error path of an IPv4 router with two interfaces (RFC 1812).
//
// $IP0, $MAC0   this router on eth0, where packets come in
// $IP1, $MAC1   this router on eth1, where they leave
// $GW, $GWMAC   the next hop on eth1
// $HOST, $HOSTMAC  the host on eth0 that gets ICMP errors

c :: Classifier(12/0806 20/0001, 12/0800, -);
rt :: RadixIPLookup($IP0/32 0, $IP1/32 0, 198.18.0.0/16 1, 0.0.0.0/0 $GW 2);

FromDevice(eth0) -> Paint(1) -> c;
c[0] -> ARPResponder($IP0 $MAC0) -> back :: Queue(64) -> ToDevice(eth0);
c[1] -> Strip(14) -> CheckIPHeader(INTERFACES $IP0/24 $IP1/24) -> rt;
c[2] -> Discard;

rt[0] -> Discard;                      // to the router itself: its control plane would take it

rt[1] -> EtherEncap(0x0800, $MAC0, $HOSTMAC) -> back;

rt[2] -> DropBroadcasts
    -> redirect :: PaintTee(2)
    -> options :: IPGWOptions($IP1)
    -> FixIPSrc($IP1)
    -> ttl :: DecIPTTL
    -> frag :: IPFragmenter(1500)
    -> EtherEncap(0x0800, $MAC1, $GWMAC)
    -> out :: Queue(512)
    -> ToDevice(eth1);

redirect[1] -> ICMPError($IP0, redirect, host) -> rt;
options[1] -> ICMPError($IP0, parameterproblem) -> rt;
ttl[1] -> ICMPError($IP0, timeexceeded) -> rt;
frag[1] -> ICMPError($IP0, unreachable, needfrag, PMTU 1500) -> rt;
