"""The classical side: images, teachers, and the reduction in front of a circuit. Imports torch, never Qiskit."""
