module extauthz/bench/loadgen

go 1.22
