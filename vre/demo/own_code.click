// A tenant who brings code that nobody trusts: it runs in a process of his own, jailed.

FromDevice(eth0) -> mine :: Untrusted(forward.py:Compiled) -> ToDevice(eth1);
