//! What settings mean for the agent on its node: servers, sysctls, health, the log, and the answers of /configz and /proxyMode.

use std::time::Duration;

use super::parse;

#[test]
fn semantics_13_4_bind_address_is_the_primary_ip_and_the_family_of_the_servers() {
    let config = parse(&["--bind-address=2001:db8::7"]).unwrap();
    assert_eq!(config.policy.node_ip, Some("2001:db8::7".parse().unwrap()));
    assert_eq!(
        config.healthz_bind_address,
        Some("[::]:10256".parse().unwrap())
    );
    assert_eq!(
        config.metrics_bind_address,
        Some("[::1]:10249".parse().unwrap())
    );
    assert_eq!(parse(&["--bind-address=::"]).unwrap().policy.node_ip, None);
}

#[test]
fn servers_listen_where_kube_proxy_would() {
    let check = |flags: &[&str], healthz: Option<&str>, metrics: Option<&str>| {
        let config = parse(flags).unwrap();
        assert_eq!(
            config.healthz_bind_address,
            healthz.map(|text| text.parse().unwrap()),
            "{flags:?}"
        );
        assert_eq!(
            config.metrics_bind_address,
            metrics.map(|text| text.parse().unwrap()),
            "{flags:?}"
        );
    };
    let (healthz, metrics) = (Some("0.0.0.0:10256"), Some("127.0.0.1:10249"));
    check(
        &["--healthz-bind-address=10.0.0.1"],
        Some("10.0.0.1:10256"),
        metrics,
    );
    check(
        &["--healthz-bind-address=::1", "--healthz-port=99"],
        Some("[::1]:99"),
        metrics,
    );
    check(&["--healthz-port=0"], None, metrics);
    check(&["--healthz-bind-address="], None, metrics);
    check(&["--metrics-port=0"], healthz, None);
    check(
        &["--metrics-bind-address=[::]:9000"],
        healthz,
        Some("[::]:9000"),
    );
    assert!(
        parse(&["--bind-address-hard-fail"])
            .unwrap()
            .bind_address_hard_fail
    );
}

#[test]
fn semantics_10_6_conntrack() {
    let conntrack = parse(&[]).unwrap().conntrack;
    assert_eq!((conntrack.max_per_core, conntrack.min), (32_768, 131_072));
    assert_eq!(conntrack.tcp_established, Some(Duration::from_hours(24)));
    assert_eq!(conntrack.tcp_close_wait, Some(Duration::from_hours(1)));
    assert_eq!(
        (
            conntrack.udp,
            conntrack.udp_stream,
            conntrack.tcp_be_liberal
        ),
        (None, None, false)
    );
    let flags = [
        "--conntrack-max-per-core=0",
        "--conntrack-min=5",
        "--conntrack-tcp-timeout-established=0",
        "--conntrack-tcp-timeout-close-wait=90s",
        "--conntrack-tcp-be-liberal",
        "--conntrack-udp-timeout=30s",
        "--conntrack-udp-timeout-stream=2m",
    ];
    let conntrack = parse(&flags).unwrap().conntrack;
    assert_eq!(
        (
            conntrack.max_per_core,
            conntrack.min,
            conntrack.tcp_be_liberal
        ),
        (0, 5, true)
    );
    assert_eq!(
        (conntrack.tcp_established, conntrack.tcp_close_wait),
        (None, Some(Duration::from_secs(90)))
    );
    assert_eq!(
        (conntrack.udp, conntrack.udp_stream),
        (Some(Duration::from_secs(30)), Some(Duration::from_mins(2)))
    );
}

#[test]
fn semantics_11_2_health_is_lost_after_two_sync_periods() {
    for (flags, seconds) in [
        (&[][..], 60),
        (&["--iptables-sync-period=10s"], 20),
        (&["--iptables-sync-period=10s", "--proxy-mode=nftables"], 20),
        (&["--iptables-sync-period=10s", "--proxy-mode=ipvs"], 60),
        (&["--ipvs-sync-period=10s", "--proxy-mode=ipvs"], 20),
        (&["--health-timeout-seconds=7"], 7),
    ] {
        assert_eq!(
            parse(flags).unwrap().health_timeout,
            Duration::from_secs(seconds),
            "{flags:?}"
        );
    }
}

#[test]
fn masquerade_bit_is_that_of_the_mode() {
    assert_eq!(
        parse(&["--iptables-masquerade-bit=3"])
            .unwrap()
            .masquerade_bit,
        3
    );
    assert_eq!(parse(&[]).unwrap().masquerade_bit, 14);
    assert_eq!(
        parse(&["--iptables-masquerade-bit=3", "--proxy-mode=nftables"])
            .unwrap()
            .masquerade_bit,
        14
    );
}

#[test]
fn semantics_11_3_configz_has_kube_proxys_shape_and_the_effective_values() {
    let config = parse(&[
        "--proxy-mode=nftables",
        "--metrics-bind-address=127.0.0.1",
        "--node-name=n",
        "--healthz-port=0",
    ])
    .unwrap();
    let configz = config.configz();
    let theirs = configz.get("kubeproxy.config.k8s.io").unwrap();
    for (field, expected) in [
        ("/kind", serde_json::json!("KubeProxyConfiguration")),
        (
            "/apiVersion",
            serde_json::json!("kubeproxy.config.k8s.io/v1alpha1"),
        ),
        ("/mode", serde_json::json!("nftables")),
        ("/nodePortAddresses", serde_json::json!(["primary"])),
        ("/metricsBindAddress", serde_json::json!("127.0.0.1:10249")),
        ("/healthzBindAddress", serde_json::json!("")),
        (
            "/conntrack/tcpEstablishedTimeout",
            serde_json::json!("24h0m0s"),
        ),
        ("/iptables/masqueradeBit", serde_json::json!(14)),
        ("/configSyncPeriod", serde_json::json!("15m0s")),
    ] {
        assert_eq!(theirs.pointer(field), Some(&expected), "{field}");
    }
    assert_eq!(
        configz.pointer("/kubeshunt.io/nodeName"),
        Some(&serde_json::json!("n"))
    );
    assert_eq!(
        configz.pointer("/kubeshunt.io/sourceIP"),
        Some(&serde_json::json!("preserve"))
    );
    for (flags, mode) in [
        (&[][..], "nftables"),
        (&["--proxy-mode=iptables"], "iptables"),
        (&["--proxy-mode=ipvs"], "ipvs"),
    ] {
        assert_eq!(parse(flags).unwrap().proxy_mode(), mode);
    }
}

#[test]
fn verbosity_is_a_level() {
    for (flags, level) in [
        (&[][..], "info"),
        (&["-v=2"], "info"),
        (&["--v", "4"], "debug"),
        (&["-v8"], "trace"),
        (&["-v8", "--log-level=warn"], "warn"),
    ] {
        assert_eq!(
            parse(flags).unwrap().log.log_level.as_deref(),
            Some(level),
            "{flags:?}"
        );
    }
}
