//! The examples of EventBridge's documentation: patterns, content filters, arrays, and what it says that they take.
//!
//! Sources: <https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-event-patterns.html>,
//! <https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-pattern-operators.html>,
//! <https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-event-patterns-arrays.html>,
//! <https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-event-patterns-null-values.html>, and the examples of
//! <https://github.com/aws/event-ruler>.

use super::check;

/// The event of the patterns page and of event-ruler's first page.
const STATE_CHANGE: &str = r#"{
    "version": "0", "id": "6a7e8feb-b491-4cf7-a9f1-bf3703467718", "detail-type": "EC2 Instance State-change Notification",
    "source": "aws.ec2", "account": "111122223333", "time": "2017-10-02T16:24:49Z", "region": "us-west-1",
    "resources": ["arn:aws:ec2:us-west-1:123456789012:instance/i-1234567890abcdef0"],
    "detail": {"instance-id": "i-1234567890abcdef0", "state": "terminated", "c-count": 5, "d-count": 3, "x-limit": 301.8, "source-ip": "10.0.0.33"}
}"#;

#[test]
fn patterns_that_take_the_event_of_the_first_page() {
    for pattern in [
        r#"{"source": ["aws.ec2"]}"#,
        r#"{"source": ["aws.ec2"], "detail-type": ["EC2 Instance State-change Notification"], "detail": {"state": ["terminated"]}}"#,
        r#"{"detail": {"state": ["initializing", "terminated"]}}"#,
        r#"{"resources": ["arn:aws:ec2:us-west-1:123456789012:instance/i-1234567890abcdef0"]}"#,
        r#"{"time": [{"prefix": "2017-10-02"}]}"#,
        r#"{"source": [{"prefix": {"equals-ignore-case": "AWS."}}]}"#,
        r#"{"source": [{"suffix": "ec2"}]}"#,
        r#"{"source": [{"suffix": {"equals-ignore-case": "EC2"}}]}"#,
        r#"{"source": [{"equals-ignore-case": "AWS.EC2"}]}"#,
        r#"{"source": [{"wildcard": "a*.*2"}]}"#,
        r#"{"detail": {"state": [{"anything-but": "initializing"}]}}"#,
        r#"{"detail": {"x-limit": [{"anything-but": 123}]}}"#,
        r#"{"detail": {"state": [{"anything-but": ["stopped", "overloaded"]}]}}"#,
        r#"{"detail": {"x-limit": [{"anything-but": [100, 200, 300]}]}}"#,
        r#"{"detail": {"state": [{"anything-but": {"prefix": "init"}}]}}"#,
        r#"{"detail": {"state": [{"anything-but": {"prefix": ["init", "error"]}}]}}"#,
        r#"{"detail": {"instance-id": [{"anything-but": {"suffix": ["1234", "6789"]}}]}}"#,
        r#"{"detail": {"state": [{"anything-but": {"equals-ignore-case": ["Stopped", "OverLoaded"]}}]}}"#,
        r#"{"detail": {"state": [{"anything-but": {"wildcard": ["*/bin/*.jar", "*/bin/*.class"]}}]}}"#,
        r#"{"detail": {"c-count": [{"numeric": [">", 0, "<=", 5]}], "d-count": [{"numeric": ["<", 10]}], "x-limit": [{"numeric": ["=", 3.018e2]}]}}"#,
        r#"{"detail": {"source-ip": [{"cidr": "10.0.0.0/24"}]}}"#,
        r#"{"detail": {"c-count": [{"exists": true}]}}"#,
        r#"{"detail": {"e-count": [{"exists": false}]}}"#,
        r#"{"time": [{"prefix": "2017-10-02"}], "detail": {"state": [{"anything-but": "initializing"}], "c-count": [{"numeric": [">", 0, "<=", 5]}],
            "d-count": [{"numeric": ["<", 10]}], "x-limit": [{"anything-but": [100, 200, 300]}], "source-ip": [{"cidr": "10.0.0.0/8"}]}}"#,
        r#"{"$or": [{"source": ["aws.s3"]}, {"detail": {"c-count": [5]}}]}"#,
        r#"{"detail": {"$or": [{"c-count": [{"numeric": [">", 0, "<=", 5]}]}, {"d-count": [{"numeric": ["<", 10]}]}, {"x-limit": [{"numeric": ["=", 3.018e2]}]}]}}"#,
    ] {
        check(pattern, &[STATE_CHANGE], &[]);
    }
}

#[test]
fn patterns_that_leave_the_event_of_the_first_page() {
    for pattern in [
        r#"{"source": ["aws.ec"]}"#,
        r#"{"source": ["aws.ec2"], "detail": {"state": ["running"]}}"#,
        r#"{"detail": {"state": [{"anything-but": ["terminated", "stopped"]}]}}"#,
        r#"{"detail": {"state": [{"anything-but": {"prefix": "term"}}]}}"#,
        r#"{"detail": {"state": [{"anything-but": {"suffix": ["ed"]}}]}}"#,
        r#"{"detail": {"state": [{"anything-but": {"equals-ignore-case": "TERMINATED"}}]}}"#,
        r#"{"detail": {"state": [{"anything-but": {"wildcard": "t*d"}}]}}"#,
        r#"{"detail": {"x-limit": [{"anything-but": [301.80]}]}}"#,
        r#"{"detail": {"e-count": [{"anything-but": 1}]}}"#,
        r#"{"detail": {"c-count": [{"numeric": [">", 5]}]}}"#,
        r#"{"detail": {"source-ip": [{"cidr": "10.0.1.0/24"}]}}"#,
        r#"{"detail": {"c-count": [{"exists": false}]}}"#,
        r#"{"detail": {"c-count": ["5"]}}"#,
        r#"{"detail": {"state": [{"numeric": ["=", 5]}]}}"#,
        r#"{"detail": {"c-count": [{"prefix": "5"}]}}"#,
        r#"{"detail": ["terminated"]}"#,
    ] {
        check(pattern, &[], &[STATE_CHANGE]);
    }
}

/// The table of the operators' page.
#[test]
fn each_operator_by_its_example() {
    let rows: [(&str, &[&str], &[&str]); 17] = [
        (r#"{"UserID": [null]}"#, &[r#"{"UserID": null}"#], &[r#"{"UserID": ""}"#, "{}"]),
        (
            r#"{"LastName": [""]}"#,
            &[r#"{"LastName": ""}"#],
            &[r#"{"LastName": null}"#, r#"{"LastName": " "}"#],
        ),
        (r#"{"Name": ["Alice"]}"#, &[r#"{"Name": "Alice"}"#], &[r#"{"Name": "alice"}"#]),
        (
            r#"{"Name": [{"equals-ignore-case": "alice"}]}"#,
            &[r#"{"Name": "Alice"}"#, r#"{"Name": "ALICE"}"#],
            &[r#"{"Name": "Alic"}"#],
        ),
        (
            r#"{"Location": ["New York"], "Day": ["Monday"]}"#,
            &[r#"{"Location": "New York", "Day": "Monday"}"#],
            &[r#"{"Location": "New York", "Day": "Tuesday"}"#, r#"{"Location": "New York"}"#],
        ),
        (
            r#"{"PaymentType": ["Credit", "Debit"]}"#,
            &[r#"{"PaymentType": "Debit"}"#],
            &[r#"{"PaymentType": "Cash"}"#],
        ),
        (
            r#"{"$or": [{"Location": ["New York"]}, {"Day": ["Monday"]}]}"#,
            &[r#"{"Location": "New York"}"#, r#"{"Location": "Rome", "Day": "Monday"}"#],
            &[r#"{"Location": "Rome", "Day": "Sunday"}"#, "{}"],
        ),
        (
            r#"{"Weather": [{"anything-but": ["Raining"]}]}"#,
            &[r#"{"Weather": "Sunny"}"#, r#"{"Weather": 5}"#],
            &[r#"{"Weather": "Raining"}"#, "{}"],
        ),
        (
            r#"{"Price": [{"numeric": ["=", 100]}]}"#,
            &[r#"{"Price": 100}"#, r#"{"Price": 1e2}"#],
            &[r#"{"Price": 101}"#, r#"{"Price": "100"}"#],
        ),
        (
            r#"{"Price": [{"numeric": [">", 10, "<=", 20]}]}"#,
            &[r#"{"Price": 20}"#, r#"{"Price": 10.01}"#],
            &[r#"{"Price": 10}"#, r#"{"Price": 20.01}"#],
        ),
        (r#"{"ProductName": [{"exists": true}]}"#, &[r#"{"ProductName": null}"#], &["{}"]),
        (r#"{"ProductName": [{"exists": false}]}"#, &["{}"], &[r#"{"ProductName": "x"}"#]),
        (
            r#"{"Region": [{"prefix": "us-"}]}"#,
            &[r#"{"Region": "us-east-1"}"#, r#"{"Region": "us-"}"#],
            &[r#"{"Region": "eu-us-1"}"#, r#"{"Region": "us"}"#],
        ),
        (
            r#"{"FileName": [{"suffix": ".png"}]}"#,
            &[r#"{"FileName": "a.png"}"#],
            &[r#"{"FileName": "a.png.jpg"}"#, r#"{"FileName": "a.PNG"}"#],
        ),
        (
            r#"{"service": [{"prefix": {"equals-ignore-case": "EventB"}}]}"#,
            &[r#"{"service": "eventbridge"}"#, r#"{"service": "EVENTBRIDGE"}"#],
            &[r#"{"service": "event"}"#],
        ),
        (
            r#"{"EventBusArn": [{"wildcard": "arn:aws:events:us-east-1:*:event-bus/*"}]}"#,
            &[r#"{"EventBusArn": "arn:aws:events:us-east-1:123456789012:event-bus/myBus"}"#],
            &[r#"{"EventBusArn": "arn:aws:events:us-west-1:123456789012:event-bus/myBus"}"#],
        ),
        (
            r#"{"FilePath": [{"anything-but": {"wildcard": "*/lib/*"}}]}"#,
            &[r#"{"FilePath": "/src/a"}"#, r#"{"FilePath": "lib/"}"#],
            &[r#"{"FilePath": "/usr/lib/a"}"#, "{}"],
        ),
    ];
    for (pattern, taken, left) in rows {
        check(pattern, taken, left);
    }
}

#[test]
fn addresses_by_their_network() {
    let event = |address: &str| format!(r#"{{"sourceIPAddress": "{address}"}}"#);
    let check = |network: &str, taken: &[&str], left: &[&str]| {
        let pattern = format!(r#"{{"sourceIPAddress": [{{"cidr": "{network}"}}]}}"#);
        let (taken, left): (Vec<String>, Vec<String>) =
            (taken.iter().map(|text| event(text)).collect(), left.iter().map(|text| event(text)).collect());
        let taken: Vec<&str> = taken.iter().map(String::as_str).collect();
        let left: Vec<&str> = left.iter().map(String::as_str).collect();
        super::check(&pattern, &taken, &left);
    };
    check(
        "10.0.0.0/24",
        &["10.0.0.0", "10.0.0.255"],
        &["10.0.1.0", "9.255.255.255", "::a00:0", "10.0.0", "host", ""],
    );
    check("10.0.0.77/24", &["10.0.0.5"], &["10.0.1.5"]);
    check("2001:db8::/33", &["2001:db8::1", "2001:0db8:7fff::"], &["2001:db8:8000::", "10.0.0.1"]);
    check("192.0.2.7", &["192.0.2.7"], &["192.0.2.8"]);
    check("0.0.0.0/0", &["1.2.3.4"], &["::1"]);
}

/// The arrays page: an event's array and a pattern's list have an element in common.
#[test]
fn arrays_have_a_value_in_common() {
    let event = r#"{"resources": ["arn:aws:autoscaling:us-east-1:123456789012:autoScalingGroup:eb56d16b", "arn:aws:ec2:us-east-1:123456789012:instance/i-b188560f"]}"#;
    check(
        r#"{"resources": ["arn:aws:ec2:us-east-1:123456789012:instance/i-b188560f", "arn:aws:ec2:us-east-1:111122223333:instance/i-b188560f"]}"#,
        &[event],
        &[],
    );
    check(r#"{"resources": [{"prefix": "arn:aws:ec2:"}]}"#, &[event], &[]);
    check(r#"{"resources": [{"anything-but": {"prefix": "arn:aws:ec2:"}}]}"#, &[event], &[]);
    check(r#"{"resources": ["arn:aws:ec2"]}"#, &[], &[event]);
}

/// The null values page: `null` is not the empty string, and neither is nothing.
#[test]
fn null_is_neither_empty_nor_absent() {
    let events = [r#"{"detail": {"x": null}}"#, r#"{"detail": {"x": ""}}"#, r#"{"detail": {}}"#];
    check(r#"{"detail": {"x": [null]}}"#, &events[..1], &events[1..]);
    check(r#"{"detail": {"x": [""]}}"#, &events[1..2], &[events[0], events[2]]);
    check(r#"{"detail": {"x": ["", null]}}"#, &events[..2], &events[2..]);
    check(r#"{"detail": {"x": [{"exists": false}]}}"#, &events[2..], &events[..2]);
}

/// The `$or` examples of event-ruler's first page.
#[test]
fn alternatives_at_any_depth_and_beside_fields() {
    check(
        r#"{"source": ["aws.cloudwatch"], "$or": [{"metricName": ["CPUUtilization", "ReadLatency"]}, {"namespace": ["AWS/EC2", "AWS/ES"]}]}"#,
        &[
            r#"{"source": "aws.cloudwatch", "metricName": "ReadLatency"}"#,
            r#"{"source": "aws.cloudwatch", "namespace": "AWS/ES"}"#,
        ],
        &[
            r#"{"metricName": "ReadLatency"}"#,
            r#"{"source": "aws.cloudwatch"}"#,
            r#"{"source": "aws.ec2", "namespace": "AWS/ES"}"#,
        ],
    );
    check(
        r#"{"$or": [{"metricName": ["CPUUtilization"]}, {"namespace": ["AWS/EC2"]}], "detail": {"$or": [{"source": ["aws.cloudwatch"]}, {"detail-type": ["Alarm"]}]}}"#,
        &[
            r#"{"namespace": "AWS/EC2", "detail": {"detail-type": "Alarm"}}"#,
            r#"{"metricName": "CPUUtilization", "detail": {"source": "aws.cloudwatch"}}"#,
        ],
        &[
            r#"{"namespace": "AWS/EC2", "metricName": "CPUUtilization"}"#,
            r#"{"detail": {"source": "aws.cloudwatch"}}"#,
        ],
    );
    check(
        r#"{"source": ["s"], "$or": [{"metricName": ["m"]}, {"metricType": ["t"], "namespace": ["n"]}, {"scope": ["x"]}]}"#,
        &[r#"{"source": "s", "metricType": "t", "namespace": "n"}"#, r#"{"source": "s", "scope": "x"}"#],
        &[r#"{"source": "s", "metricType": "t"}"#, r#"{"source": "s", "namespace": "n"}"#],
    );
    check(
        r#"{"source": ["s"], "$or": [{"metricName": ["m"]}, {"metricType": ["t"], "$or": [{"namespace": ["n"]}, {"scope": ["x"]}]}]}"#,
        &[r#"{"source": "s", "metricType": "t", "scope": "x"}"#, r#"{"source": "s", "metricName": "m"}"#],
        &[r#"{"source": "s", "scope": "x"}"#, r#"{"source": "s", "metricType": "t"}"#],
    );
}

/// Objects' events in EventBridge's S3 shape, as its documentation filters them.
#[test]
fn an_object_that_was_created() {
    check(
        r#"{"source": ["aws.s3"], "detail-type": ["Object Created"], "detail": {"bucket": {"name": ["uploads"]}, "object": {"key": [{"prefix": "images/"}], "size": [{"numeric": ["<=", 1024]}]}}}"#,
        &[
            r#"{"source": "aws.s3", "detail-type": "Object Created", "detail": {"bucket": {"name": "uploads"}, "object": {"key": "images/a.png", "size": 5}}}"#,
        ],
        &[
            r#"{"source": "aws.s3", "detail-type": "Object Created", "detail": {"bucket": {"name": "uploads"}, "object": {"key": "videos/a.png", "size": 5}}}"#,
        ],
    );
}
