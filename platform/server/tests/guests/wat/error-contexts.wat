;; Asks for error contexts, a part of the component model that is still being designed and that Skiff does not offer.
(component
  (core module $memory (memory (export "memory") 1))
  (core instance $memory (instantiate $memory))
  (core func $new (canon error-context.new (memory (core memory $memory "memory")))))
