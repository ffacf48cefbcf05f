;; An HTTP task on WASI 0.2 that grows its tables, in turn, until it is refused one more element. Nothing written in Rust
;; can do that.
(component
  (import "wasi:http/types@0.2.0" (instance $types
    (export "incoming-request" (type (sub resource)))
    (export "response-outparam" (type (sub resource)))))
  (alias export $types "incoming-request" (type $request))
  (alias export $types "response-outparam" (type $answer))

  (core module $module
    (table $a 0 funcref)
    (table $b 0 funcref)
    (table $c 0 funcref)
    (table $d 0 funcref)
    (table $e 0 funcref)
    (table $f 0 funcref)
    (func (export "handle") (param i32 i32)
      (loop $again
        (if (i32.and
              (i32.and
                (i32.and
                  (i32.ne (table.grow $a (ref.null func) (i32.const 100)) (i32.const -1))
                  (i32.ne (table.grow $b (ref.null func) (i32.const 100)) (i32.const -1)))
                (i32.and
                  (i32.ne (table.grow $c (ref.null func) (i32.const 100)) (i32.const -1))
                  (i32.ne (table.grow $d (ref.null func) (i32.const 100)) (i32.const -1))))
              (i32.and
                (i32.ne (table.grow $e (ref.null func) (i32.const 100)) (i32.const -1))
                (i32.ne (table.grow $f (ref.null func) (i32.const 100)) (i32.const -1))))
          (then (br $again))))
      unreachable))
  (core instance $instance (instantiate $module))

  (func $handle (param "request" (own $request)) (param "response-out" (own $answer))
    (canon lift (core func $instance "handle")))
  (instance (export "wasi:http/incoming-handler@0.2.0")
    (export "handle" (func $handle))))
